-- name: TrySignIn :one
-- The row lock makes tries at the same moment count one after another.
INSERT INTO sign_in AS s (subject, began, tries) VALUES (@subject, clock_timestamp(), 1)
ON CONFLICT (subject) DO UPDATE SET
    tries = CASE WHEN s.began <= clock_timestamp() - sqlc.arg(span)::interval THEN 1 ELSE s.tries + 1 END,
    began = CASE WHEN s.began <= clock_timestamp() - sqlc.arg(span)::interval THEN clock_timestamp() ELSE s.began END
RETURNING tries, (began + sqlc.arg(span)::interval - clock_timestamp())::interval AS left_over;

-- name: ForgetSignIn :exec
DELETE FROM sign_in WHERE subject = @subject;

-- name: TakeBackSignIn :exec
UPDATE sign_in SET tries = tries - 1 WHERE subject = @subject AND tries > 0;

-- name: ExpireSignIns :execrows
DELETE FROM sign_in WHERE subject IN (SELECT s.subject FROM sign_in s WHERE s.began <= clock_timestamp() - sqlc.arg(span)::interval ORDER BY s.began LIMIT @max_rows FOR UPDATE SKIP LOCKED);

-- name: ExpireSessions :execrows
DELETE FROM app_session WHERE digest IN (SELECT s.digest FROM app_session s WHERE s.expires_at <= clock_timestamp() ORDER BY s.expires_at LIMIT @max_rows FOR UPDATE SKIP LOCKED);
