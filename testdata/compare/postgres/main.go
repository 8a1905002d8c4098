// Command postgres takes messages over HTTP and keeps them in PostgreSQL, as a service that is written with care does.
//
//	postgres CONNECTION ADDR KEYFILE WORKSPACES
//
// It makes the tables and workspaces with a key each, writes the keys to KEYFILE, and serves on ADDR.
package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed schema.sql
var schema string

//go:embed send.sql
var send string

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: postgres CONNECTION ADDR KEYFILE WORKSPACES")
	}
	n, err := strconv.Atoi(os.Args[4])
	if err != nil {
		log.Fatal(err)
	}
	if err := serve(context.Background(), os.Args[1], os.Args[2], os.Args[3], n); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, connection, addr, keyFile string, workspaces int) error {
	db, err := pgxpool.New(ctx, connection)
	if err != nil {
		return err
	}
	if _, err := db.Exec(ctx, schema); err != nil {
		return err
	}
	s := &service{db: db, keys: map[[sha256.Size]byte]int{}}
	keys, err := s.makeWorkspaces(ctx, workspaces)
	if err != nil {
		return err
	}
	if err := os.WriteFile(keyFile, []byte(strings.Join(keys, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/messages", s.post)
	mux.HandleFunc("GET /api/messages/{id}", s.get)
	return http.ListenAndServe(addr, mux)
}

type service struct {
	db   *pgxpool.Pool
	keys map[[sha256.Size]byte]int // digests to workspaces, as a cache would have them
}

// unlimited is a limit that is counted and never reached.
const unlimited = 1 << 40

func (s *service) makeWorkspaces(ctx context.Context, n int) (keys []string, err error) {
	for id := range n {
		key := "pg_" + rand.Text()
		digest := sha256.Sum256([]byte(key))
		s.keys[digest] = id
		keys = append(keys, key)
		batch := new(pgx.Batch)
		batch.Queue("INSERT INTO workspace VALUES ($1, $2, $3, $3)", id, digest[:], int64(unlimited))
		batch.Queue("INSERT INTO line VALUES ($1, $1, '+12025550100', $2)", id, int64(unlimited))
		if err := s.db.SendBatch(ctx, batch).Close(); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// request is what is read of a message.
type request struct {
	Message           string `json:"message"`
	MessageType       string `json:"messageType"`
	RecipientPhone    string `json:"recipientPhone"`
	RecipientName     string `json:"recipientName"`
	BatchID           string `json:"batchId"`
	ContactOwnerEmail string `json:"contactOwnerEmail"`
}

// message is one in an answer.
type message struct {
	ID string `json:"_id"`
	request
	Status    string    `json:"status"`
	LeadID    string    `json:"leadId"`
	LineID    string    `json:"fromLineId"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// authenticate says whose key the request has; otherwise it answers.
func (s *service) authenticate(w http.ResponseWriter, r *http.Request) (workspace int, ok bool) {
	secret, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	workspace, ok = s.keys[sha256.Sum256([]byte(secret))]
	if !ok {
		answer(w, http.StatusUnauthorized, map[string]string{"error": "Unauthorized"})
	}
	return workspace, ok
}

func (s *service) post(w http.ResponseWriter, r *http.Request) {
	workspace, ok := s.authenticate(w, r)
	if !ok {
		return
	}
	var m message
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(body, &m.request)
	}
	if err != nil || m.Message == "" || m.RecipientPhone == "" {
		answer(w, http.StatusBadRequest, map[string]string{"error": "Invalid request body"})
		return
	}
	var id, lead, line int64
	err = s.db.QueryRow(r.Context(), send, workspace, m.RecipientPhone, m.RecipientName, m.MessageType, m.Message, m.BatchID, m.ContactOwnerEmail).
		Scan(&id, &lead, &line, &m.CreatedAt)
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "23502" { // a counter was at its limit
		answer(w, http.StatusTooManyRequests, map[string]string{"error": "Limit reached"})
		return
	}
	if err != nil {
		fail(w, err)
		return
	}
	m.ID, m.LeadID, m.LineID, m.Status, m.UpdatedAt = strconv.FormatInt(id, 10), strconv.FormatInt(lead, 10), strconv.FormatInt(line, 10), "pending", m.CreatedAt
	answer(w, http.StatusCreated, map[string]any{"success": true, "status": "pending", "message": m})
}

func (s *service) get(w http.ResponseWriter, r *http.Request) {
	workspace, ok := s.authenticate(w, r)
	if !ok {
		return
	}
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		answer(w, http.StatusNotFound, map[string]string{"error": "Message not found"})
		return
	}
	var m message
	err = s.db.QueryRow(r.Context(), `SELECT id::text, lead::text, line::text, status, type, text, phone, name, batch, owner, created, updated
		FROM message WHERE id = $1 AND workspace = $2`, id, workspace).
		Scan(&m.ID, &m.LeadID, &m.LineID, &m.Status, &m.MessageType, &m.Message, &m.RecipientPhone, &m.RecipientName, &m.BatchID, &m.ContactOwnerEmail, &m.CreatedAt, &m.UpdatedAt)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		answer(w, http.StatusNotFound, map[string]string{"error": "Message not found"})
	case err != nil:
		fail(w, err)
	default:
		answer(w, http.StatusOK, map[string]any{"message": m})
	}
}

func fail(w http.ResponseWriter, err error) {
	log.Print(err)
	answer(w, http.StatusInternalServerError, map[string]string{"error": "Internal server error"})
}

func answer(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		log.Print(err)
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(data)
}
