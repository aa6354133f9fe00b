package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store/db"
)

// MaxConversations is how many conversations a client may keep, archived ones included.
const MaxConversations = 100_000

// ErrFull: a client has as many objects of a kind as it may.
var ErrFull = errors.New("there are too many of them")

// Conversation is what a customer keeps about a conversation; its messages are nowhere.
type Conversation struct {
	ID         reqid.ID
	ClientID   int64
	Title      string
	Model      string // public id, "" = none
	Metadata   map[string]string
	CreatedAt  time.Time
	ChangedAt  time.Time
	ArchivedAt time.Time // zero: not archived
}

// ConversationPatch changes what is not nil.
type ConversationPatch struct {
	Title    *string
	Model    *string
	Metadata *map[string]string
}

const conversationColumns = "id, client_id, title, model, metadata, created_at, changed_at, archived_at"

func scanConversation(row pgx.Row) (c Conversation, err error) {
	var id [16]byte
	var archived *time.Time
	err = row.Scan(&id, &c.ClientID, &c.Title, &c.Model, &c.Metadata, &c.CreatedAt, &c.ChangedAt, &archived)
	c.ID = id
	if archived != nil {
		c.ArchivedAt = *archived
	}
	return c, err
}

// CreateConversation stores c under its ID; times are those of Postgres. ErrFull when the
// client has MaxConversations.
func (d *DB) CreateConversation(ctx context.Context, c *Conversation) (Conversation, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	out, err := scanConversation(d.pool.QueryRow(ctx, `INSERT INTO conversation (id, client_id, title, model, metadata)
		SELECT $1::uuid, $2::bigint, $3::text, $4::text, $5::jsonb
		WHERE (SELECT count(*) FROM (SELECT FROM conversation WHERE client_id = $2 LIMIT $6) AS t) < $6 RETURNING `+conversationColumns,
		[16]byte(c.ID), c.ClientID, c.Title, c.Model, metadata(c.Metadata), MaxConversations))
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrFull
	}
	if err != nil {
		return out, fmt.Errorf("cannot create a conversation: %w", meaning(err))
	}
	return out, nil
}

func metadata(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// Conversation reads one of a client, ErrNotFound if there is none.
func (d *DB) Conversation(ctx context.Context, clientID int64, id reqid.ID) (Conversation, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	c, err := scanConversation(d.pool.QueryRow(ctx, "SELECT "+conversationColumns+" FROM conversation WHERE client_id = $1 AND id = $2::uuid", clientID, [16]byte(id)))
	if err != nil {
		return c, fmt.Errorf("cannot read a conversation: %w", meaning(err))
	}
	return c, nil
}

// Conversations pages through those of a client, newest first: archived ones or the
// others. before is the last one of the page before, zero for the first page.
func (d *DB) Conversations(ctx context.Context, clientID int64, archived bool, before reqid.ID, limit int) ([]Conversation, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	w := &where{}
	w.and("client_id = ?", clientID)
	w.and("(archived_at IS NOT NULL) = ?", archived)
	if !before.IsZero() {
		w.and("id < ?::uuid", [16]byte(before))
	}
	rows, err := d.pool.Query(ctx, "SELECT "+conversationColumns+" FROM conversation"+w.String()+fmt.Sprintf(" ORDER BY id DESC LIMIT %d", limit), w.args...)
	if err != nil {
		return nil, fmt.Errorf("cannot list conversations: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Conversation, error) { return scanConversation(row) })
	if err != nil {
		return nil, fmt.Errorf("cannot list conversations: %w", err)
	}
	return list, nil
}

// UpdateConversation changes one of a client. ErrConflict for one that is archived.
func (d *DB) UpdateConversation(ctx context.Context, clientID int64, id reqid.ID, p ConversationPatch) (Conversation, error) {
	return d.changeConversation(ctx, clientID, id, func(c *Conversation) error {
		if !c.ArchivedAt.IsZero() {
			return fmt.Errorf("%w: the conversation is archived", ErrConflict)
		}
		if p.Title != nil {
			c.Title = *p.Title
		}
		if p.Model != nil {
			c.Model = *p.Model
		}
		if p.Metadata != nil {
			c.Metadata = *p.Metadata
		}
		return nil
	})
}

// ArchiveConversation archives one of a client for good; once archived it stays as it is.
func (d *DB) ArchiveConversation(ctx context.Context, clientID int64, id reqid.ID, now time.Time) (Conversation, error) {
	return d.changeConversation(ctx, clientID, id, func(c *Conversation) error {
		if c.ArchivedAt.IsZero() {
			c.ArchivedAt = now
		}
		return nil
	})
}

func (d *DB) changeConversation(ctx context.Context, clientID int64, id reqid.ID, f func(*Conversation) error) (out Conversation, err error) {
	err = d.tx(ctx, func(ctx context.Context, tx pgx.Tx, _ *db.Queries) error {
		c, err := scanConversation(tx.QueryRow(ctx, "SELECT "+conversationColumns+" FROM conversation WHERE client_id = $1 AND id = $2::uuid FOR UPDATE", clientID, [16]byte(id)))
		if err != nil {
			return meaning(err)
		}
		archived := c.ArchivedAt
		if err := f(&c); err != nil {
			return err
		}
		if !archived.IsZero() {
			out = c
			return nil
		}
		out, err = scanConversation(tx.QueryRow(ctx, `UPDATE conversation SET title = $2, model = $3, metadata = $4, archived_at = $5, changed_at = clock_timestamp()
			WHERE id = $1::uuid RETURNING `+conversationColumns, [16]byte(id), c.Title, c.Model, metadata(c.Metadata), timeNull(c.ArchivedAt)))
		return meaning(err)
	})
	if err != nil {
		return out, fmt.Errorf("cannot change a conversation: %w", err)
	}
	return out, nil
}
