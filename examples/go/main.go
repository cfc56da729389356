// Receives events from Graph Relay and keeps the newest version of each resource in PostgreSQL.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"sort"

	"github.com/jackc/pgx/v5/pgxpool"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const store = `
	INSERT INTO resources (source, subject, version, type, event) VALUES ($1, $2, $3, $4, $5)
	ON CONFLICT (source, subject) DO UPDATE
		SET version = excluded.version, type = excluded.type, event = excluded.event
		WHERE resources.version < excluded.version`

type event struct{ Source, Subject, Version, Type string }

type consumer struct {
	webhook  *standardwebhooks.Webhook
	database *pgxpool.Pool
}

// receive verifies, stores, and only then answers 2xx.
func (c consumer) receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 16<<20))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	case err != nil:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case c.webhook.Verify(body, r.Header) != nil:
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if !bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
		body = append(append([]byte("["), body...), ']')
	}
	var raw []json.RawMessage
	var events []event
	if json.Unmarshal(body, &raw) != nil || json.Unmarshal(body, &events) != nil {
		w.WriteHeader(http.StatusUnprocessableEntity) // one event of the batch; the relay finds it
		return
	}
	if c.store(r.Context(), events, raw) != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// store keeps a batch in one transaction, in one order, so that concurrent batches can't block each other.
func (c consumer) store(ctx context.Context, events []event, raw []json.RawMessage) error {
	order := make([]int, len(events))
	for i := range order {
		order[i] = i
	}
	sort.Slice(order, func(i, j int) bool {
		a, b := events[order[i]], events[order[j]]
		return a.Source+"\n"+a.Subject < b.Source+"\n"+b.Subject
	})
	transaction, err := c.database.Begin(ctx)
	if err != nil {
		return err
	}
	defer transaction.Rollback(ctx)
	for _, i := range order {
		e := events[i]
		if _, err := transaction.Exec(ctx, store, e.Source, e.Subject, e.Version, e.Type, string(raw[i])); err != nil {
			return err
		}
	}
	return transaction.Commit(ctx)
}

func main() {
	webhook, err := standardwebhooks.NewWebhook(os.Getenv("RELAY_SECRET"))
	if err != nil {
		log.Fatal(err)
	}
	database, err := pgxpool.New(context.Background(), os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	schema, err := os.ReadFile("../schema.sql")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := database.Exec(context.Background(), string(schema)); err != nil {
		log.Fatal(err)
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "9000"
	}
	http.HandleFunc("POST /events", consumer{webhook, database}.receive)
	log.Println("ready")
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, nil))
}
