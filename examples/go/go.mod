module graph-relay-consumer

go 1.25.0

require (
	github.com/jackc/pgx/v5 v5.9.2
	github.com/standard-webhooks/standard-webhooks/libraries v0.0.1
)
