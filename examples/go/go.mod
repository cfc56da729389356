module graph-relay-consumer

go 1.22

require (
	github.com/jackc/pgx/v5 v5.6.0
	github.com/standard-webhooks/standard-webhooks/libraries v0.0.0-20240303152453-e0e82adf1721
)
