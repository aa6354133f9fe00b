package report

import (
	"context"
	"strings"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
)

// Conversation is what a customer keeps about a conversation. Its messages are nowhere.
type Conversation struct {
	ID         string            `json:"id" example:"conv_01JDN3V9TQ4Z8X2M6K0RFW7YBC"`
	Title      string            `json:"title"`
	Model      *string           `json:"model"` // null: none named
	Metadata   map[string]string `json:"metadata"`
	Status     string            `json:"status" enum:"active,archived"`
	CreatedAt  time.Time         `json:"created_at"`
	UpdatedAt  time.Time         `json:"updated_at"`
	ArchivedAt *time.Time        `json:"archived_at"`
}

// ConversationDetail is one of them with what its calls came to.
type ConversationDetail struct {
	Conversation
	Usage ConversationUsage `json:"usage"`
}

// ConversationUsage adds up the calls whose x-conversation-id is the conversation's id.
type ConversationUsage struct {
	Calls    int64        `json:"calls" doc:"those of /openapi/v1/observation/logs with this conversation_id: what was refused, or whose detail is not kept, is not among them"`
	Charge   money.Amount `json:"charge"`
	FirstAt  *time.Time   `json:"first_call_at"`
	LastAt   *time.Time   `json:"last_call_at"`
	Complete bool         `json:"complete" doc:"false: only the newest 10000 calls are added up"`
}

const conversationPrefix = "conv_"

// ParseConversationID reads the id of a conversation.
func ParseConversationID(text string) (reqid.ID, bool) {
	ulid, ok := strings.CutPrefix(text, conversationPrefix)
	id, err := reqid.Parse(reqid.Prefix + ulid)
	return id, ok && err == nil
}

// ViewConversation is c as its customer sees it.
func ViewConversation(c *store.Conversation) *Conversation {
	v := &Conversation{
		ID: conversationPrefix + strings.TrimPrefix(c.ID.String(), reqid.Prefix), Title: c.Title, Metadata: c.Metadata, Status: "active",
		CreatedAt: c.CreatedAt.UTC(), UpdatedAt: c.ChangedAt.UTC(), ArchivedAt: timeOrNil(c.ArchivedAt),
	}
	if c.Model != "" {
		v.Model = &c.Model
	}
	if v.ArchivedAt != nil {
		v.Status = "archived"
	}
	return v
}

// Conversation reads one of a client, and adds its calls up.
func (s *Service) Conversation(ctx context.Context, clientID int64, id reqid.ID) (*ConversationDetail, error) {
	c, err := s.db.Conversation(ctx, clientID, id)
	if err != nil {
		return nil, err
	}
	v := &ConversationDetail{Conversation: *ViewConversation(&c)}
	sum, err := s.db.ConversationSum(ctx, clientID, v.ID)
	if err != nil {
		return nil, err
	}
	v.Usage = ConversationUsage{
		Calls: sum.Calls, Charge: sum.Charge, FirstAt: timeOrNil(sum.First), LastAt: timeOrNil(sum.Last), Complete: sum.Calls < store.MaxConversationCalls,
	}
	return v, nil
}

// Conversations lists those of a client, newest first; after is the cursor of the page.
func (s *Service) Conversations(ctx context.Context, clientID int64, archived bool, after string, limit int) (list []Conversation, next *string, err error) {
	var before reqid.ID
	if after != "" {
		var ok bool
		if before, ok = ParseConversationID(after); !ok {
			return nil, nil, ErrCursor
		}
	}
	rows, err := s.db.Conversations(ctx, clientID, archived, before, limit+1)
	if err != nil {
		return nil, nil, err
	}
	more := len(rows) > limit
	rows = rows[:min(len(rows), limit)]
	list = make([]Conversation, len(rows))
	for i := range rows {
		list[i] = *ViewConversation(&rows[i])
	}
	if more {
		next = &list[limit-1].ID
	}
	return list, next, nil
}
