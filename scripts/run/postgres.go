package main

import (
	"context"
	"path/filepath"
	"time"

	"tokenrelay/shared/embedpg"
)

// startPostgres starts a private server and puts its address into the environment,
// unless RELAY_DATABASE_URL names one. nil means there is none of ours.
func (l *launcher) startPostgres(ctx context.Context) (*embedpg.Server, error) {
	if l.env["RELAY_DATABASE_URL"] != "" || l.env["RELAY_DATABASE_URL_FILE"] != "" {
		return nil, nil
	}
	s, err := embedpg.Start(ctx, embedpg.Options{Dir: filepath.Join(l.data, "postgres"), Install: true, Log: say})
	if err != nil {
		return nil, err
	}
	l.private = true
	l.env["RELAY_DATABASE_URL"] = s.URL("")
	return s, nil
}

// stopPostgres shuts the server down, at once if the user is in a hurry.
func (l *launcher) stopPostgres(s *embedpg.Server) error {
	select {
	case <-l.hurry:
		return s.StopNow()
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return s.Stop(ctx)
}
