package manage

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/store"
)

// PatchPolicy changes what a customer sets for all of its keys; what is nil stays. Models
// are public ids, regions those that there are.
func (s *Service) PatchPolicy(ctx context.Context, actor store.Actor, clientID int64, p store.PolicyPatch, regions []string) (*store.Policy, error) {
	if p.Region != nil && *p.Region != "" && !slices.Contains(regions, *p.Region) {
		if len(regions) == 0 {
			return nil, apierr.Invalid("multi_region.region", "multi_region.region: no upstream here has a region")
		}
		return nil, apierr.Invalid("multi_region.region", fmt.Sprintf("multi_region.region must be one of %s", strings.Join(regions, ", ")))
	}
	changed, err := s.db.PatchPolicy(ctx, actor, clientID, p)
	if err != nil {
		return nil, err
	}
	return &changed, nil
}
