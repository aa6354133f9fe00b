package manage

import (
	"context"
	"errors"
	"fmt"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
)

// The limits of what is kept about a conversation, in characters.
const (
	maxTitle         = 256
	maxMetadataName  = 64
	maxMetadataValue = 512
)

// CreateConversation stores what a customer says of a new conversation. Model is a
// public id or "".
func (s *Service) CreateConversation(ctx context.Context, c *store.Conversation) (store.Conversation, error) {
	if err := checkConversation(&store.ConversationPatch{Title: &c.Title, Metadata: &c.Metadata}); err != nil {
		return store.Conversation{}, err
	}
	c.ID = reqid.New(s.now())
	made, err := s.db.CreateConversation(ctx, c)
	if errors.Is(err, store.ErrFull) {
		return made, apierr.Invalid("", fmt.Sprintf("there are %d conversations, more cannot be kept", store.MaxConversations)).WithCause(err)
	}
	return made, err
}

// PatchConversation changes one of a client's conversations; what is nil stays.
func (s *Service) PatchConversation(ctx context.Context, clientID int64, id reqid.ID, p store.ConversationPatch) (store.Conversation, error) {
	if err := checkConversation(&p); err != nil {
		return store.Conversation{}, err
	}
	return s.db.UpdateConversation(ctx, clientID, id, p)
}

// ArchiveConversation archives one for good.
func (s *Service) ArchiveConversation(ctx context.Context, clientID int64, id reqid.ID) (store.Conversation, error) {
	return s.db.ArchiveConversation(ctx, clientID, id, s.now())
}

func checkConversation(p *store.ConversationPatch) error {
	if p.Title != nil {
		if err := checkText("title", *p.Title, 0, maxTitle); err != nil {
			return err
		}
	}
	if p.Metadata != nil {
		for name, value := range *p.Metadata {
			if err := checkText("metadata", name, 1, maxMetadataName); err != nil {
				return err
			}
			if err := checkText("metadata."+clip(name), value, 0, maxMetadataValue); err != nil {
				return err
			}
		}
	}
	return nil
}
