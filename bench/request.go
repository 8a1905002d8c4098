package bench

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
)

// A Tenant is a workspace that is asked for something.
type Tenant struct {
	ID       string   `json:"id"`
	Key      string   `json:"key"`
	Messages []string `json:"messages,omitempty"` // ids of some that it has, to be read
}

// requests puts requests together. One goroutine uses it at a time.
type requests struct {
	host, path string
	rng        *rand.Rand
	buf, body  []byte
}

// send asks for a message to one of the tenant's contacts.
func (r *requests) send(t *Tenant, contacts int) []byte {
	contact := r.rng.IntN(contacts)
	r.body = append(r.body[:0], `{"message":"`...)
	r.body = append(r.body, texts()[r.rng.IntN(len(texts()))]...)
	r.body = append(r.body, `","messageType":"sms","recipientPhone":"`...)
	r.body = appendPhone(r.body, contact)
	r.body = append(r.body, `","recipientName":"`...)
	r.body = append(r.body, firstNames[contact%len(firstNames)]...)
	r.body = append(r.body, ' ')
	r.body = append(r.body, lastNames[contact/len(firstNames)%len(lastNames)]...)
	r.body = append(r.body, `","batchId":"spring-2027-03","contactOwnerEmail":"dana@example.com"}`...)

	r.begin("POST ", t, "")
	r.buf = append(r.buf, "\r\nContent-Type: application/json\r\nContent-Length: "...)
	r.buf = strconv.AppendInt(r.buf, int64(len(r.body)), 10)
	r.buf = append(r.buf, "\r\n\r\n"...)
	r.buf = append(r.buf, r.body...)
	return r.buf
}

// get asks for one message.
func (r *requests) get(t *Tenant, id string) []byte {
	r.begin("GET ", t, id)
	r.buf = append(r.buf, "\r\n\r\n"...)
	return r.buf
}

// list asks for the newest messages.
func (r *requests) list(t *Tenant) []byte { return r.get(t, "") }

// begin writes everything that all requests have.
func (r *requests) begin(method string, t *Tenant, id string) {
	r.buf = append(append(r.buf[:0], method...), r.path...)
	if id != "" {
		r.buf = append(append(r.buf, '/'), id...)
	}
	r.buf = append(append(r.buf, " HTTP/1.1\r\nHost: "...), r.host...)
	r.buf = append(append(r.buf, "\r\nAuthorization: Bearer "...), t.Key...)
}

// areaCodes begin the numbers of contacts, all of them with the exchange 555, which is given to nobody.
var areaCodes = strings.Fields("201 202 203 205 206 207 208 209 210 212 213 214 215 216 217 218 219 224 225 228 " +
	"229 231 234 239 240 248 251 252 253 254 256 260 262 267 269 270 276 281 301 302 303 304 305 307 308 309 310 312 313 314")

const numbersPerArea = 10_000

// MaxContacts is how many contacts a workspace can have in a load.
var MaxContacts = len(areaCodes) * numbersPerArea

// appendPhone appends the number of a contact.
func appendPhone(b []byte, contact int) []byte {
	b = append(append(b, "+1"...), areaCodes[contact/numbersPerArea]...)
	b = append(b, "555"...)
	for unit := numbersPerArea / 10; unit > 0; unit /= 10 {
		b = append(b, byte('0'+contact/unit%10))
	}
	return b
}

var (
	firstNames = strings.Fields("Ana Ben Carla David Elena Frank Grace Hugo Irene Jonas Kim Laura Marco Nina Oscar Paula")
	lastNames  = strings.Fields("Lopez Miller Novak Okafor Petrov Quinn Rossi Schmidt Tanaka Usman Varga Weber Young Zhang Adams Brown")
	words      = strings.Fields("about again appointment available before between call change check confirm could date day delivery details early " +
		"evening find from help hour later let meeting minute morning need next number offer order please price question ready reply " +
		"reserve schedule send shop soon still team thanks their time today tomorrow visit week when with would your")
)

// texts are what is written: many, so that nothing gets cheap by being always the same.
var texts = sync.OnceValue(func() []string { return makeTexts(512) })

const textLength = 120

func makeTexts(n int) []string {
	rng := rand.New(rand.NewPCG(1, 2))
	list := make([]string, n)
	for i := range list {
		text := "Hello {{firstName}},"
		for len(text) < textLength {
			text = fmt.Sprint(text, " ", words[rng.IntN(len(words))])
		}
		list[i] = text
	}
	return list
}
