// Command pocketbase is PocketBase with the collection that the comparison writes to.
//
//	pocketbase DIR ADDR KEYFILE
//
// It makes the collection and a user in DIR, writes the user's token to KEYFILE, and serves on ADDR.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/pocketbase/pocketbase/apis"
	"github.com/pocketbase/pocketbase/core"
	_ "github.com/pocketbase/pocketbase/migrations"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: pocketbase DIR ADDR KEYFILE")
	}
	if err := serve(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		log.Fatal(err)
	}
}

func serve(dir, addr, keyFile string) error {
	app := core.NewBaseApp(core.BaseAppConfig{DataDir: dir})
	if err := app.Bootstrap(); err != nil {
		return err
	}
	if err := app.RunAllMigrations(); err != nil {
		return err
	}
	if err := makeCollection(app); err != nil {
		return fmt.Errorf("making the collection: %w", err)
	}
	token, err := makeUser(app)
	if err != nil {
		return fmt.Errorf("making a user: %w", err)
	}
	if err := os.WriteFile(keyFile, []byte(token+"\n"), 0o600); err != nil {
		return err
	}
	err = apis.Serve(app, apis.ServeConfig{HttpAddr: addr})
	if err == http.ErrServerClosed {
		return nil
	}
	return err
}

func makeCollection(app core.App) error {
	rule := `@request.auth.id != ""`
	c := core.NewBaseCollection("messages")
	c.ListRule, c.ViewRule, c.CreateRule = &rule, &rule, &rule
	for _, name := range []string{"message", "messageType", "recipientPhone", "recipientName", "batchId", "contactOwnerEmail", "status", "leadId", "fromLineId", "workspaceId"} {
		c.Fields.Add(&core.TextField{Name: name})
	}
	c.Fields.Add(&core.AutodateField{Name: "created", OnCreate: true}, &core.AutodateField{Name: "updated", OnCreate: true, OnUpdate: true})
	for _, column := range []string{"leadId", "recipientPhone", "batchId", "status"} {
		c.AddIndex("by_"+column, false, column+", created", "")
	}
	return app.Save(c)
}

func makeUser(app core.App) (token string, err error) {
	users, err := app.FindCollectionByNameOrId("users")
	if err != nil {
		return "", err
	}
	user := core.NewRecord(users)
	user.SetEmail("bench@example.com")
	user.SetPassword("not-a-secret-1")
	if err := app.Save(user); err != nil {
		return "", err
	}
	return user.NewAuthToken()
}
