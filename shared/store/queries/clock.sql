-- name: Now :one
SELECT clock_timestamp()::timestamptz AS now;

-- name: UsagePartitions :one
SELECT usage_partitions(@ahead::integer)::bigint;

-- name: AdvisoryLock :one
SELECT pg_try_advisory_lock(@lock::bigint)::boolean;

-- name: AdvisoryUnlock :one
SELECT pg_advisory_unlock(@lock::bigint)::boolean;
