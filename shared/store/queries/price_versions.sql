-- name: PricesByID :many
SELECT * FROM price WHERE id = ANY(sqlc.arg(ids)::bigint[]) ORDER BY id;
