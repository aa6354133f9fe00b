package meter

import (
	"testing"

	"tokenrelay/shared/usage"
)

// What is billed of what a provider says, by what a model's price counts (C9): never two
// counts of one thing, never what cannot be, never nothing for something.
func TestPlan(t *testing.T) {
	tokens := Plan{By: usage.Input, Guess: usage.Units{usage.Input: 5, usage.AudioOut: 50}}
	tokens.Most[usage.Input], tokens.Most[usage.Output] = 100, 1000
	seconds := Plan{By: usage.Seconds, Guess: usage.Units{usage.Seconds: 7}, Most: usage.Units{usage.Seconds: 44}}
	pictures := Plan{By: usage.Images, Guess: usage.Units{usage.Images: 2}, Most: usage.Units{usage.Images: 2}}
	searches := Plan{By: usage.Searches, Guess: usage.Units{usage.Searches: 1}, Most: usage.Units{usage.Searches: 3}}
	letters := Plan{By: usage.Characters, Guess: usage.Units{usage.Characters: 12}}
	told := func(u usage.Units) Report { return Report{Units: u, Source: usage.SourceReported, Began: true} }
	for name, c := range map[string]struct {
		p      *Plan
		r      Report
		units  usage.Units
		source usage.Source
		flags  usage.Flags
	}{
		"tokens":                    {&tokens, told(usage.Units{usage.Input: 9, usage.AudioOut: 90}), usage.Units{usage.Input: 9, usage.AudioOut: 90}, usage.SourceReported, 0},
		"tokens and seconds":        {&tokens, told(usage.Units{usage.Input: 9, usage.Seconds: 90}), usage.Units{usage.Input: 9}, usage.SourceReported, 0},
		"tokens, only seconds said": {&tokens, told(usage.Units{usage.Seconds: 90}), tokens.Guess, usage.SourceEstimated, 0},
		"tokens, nothing said":      {&tokens, Report{Began: true}, tokens.Guess, usage.SourceEstimated, 0},
		"tokens, too many in":       {&tokens, told(usage.Units{usage.Input: 101, usage.AudioOut: 9}), tokens.Guess, usage.SourceEstimated, usage.FlagUsageSuspect},
		"tokens, too many out":      {&tokens, told(usage.Units{usage.Input: 1, usage.AudioOut: 1001}), tokens.Guess, usage.SourceEstimated, usage.FlagUsageSuspect},
		"tokens, impossible":        {&tokens, Report{Units: usage.Units{usage.Input: 1}, Source: usage.SourceReported, Began: true, Impossible: true}, tokens.Guess, usage.SourceEstimated, usage.FlagUsageSuspect},
		"no output":                 {&tokens, Report{}, usage.Units{}, usage.SourceNone, 0},
		"seconds":                   {&seconds, told(usage.Units{usage.Seconds: 8}), usage.Units{usage.Seconds: 8}, usage.SourceReported, 0},
		"seconds beside tokens":     {&seconds, Report{Units: usage.Units{usage.AudioIn: 80}, Source: usage.SourceReported, Seconds: 9, Began: true}, usage.Units{usage.Seconds: 9}, usage.SourceReported, 0},
		"seconds, only tokens said": {&seconds, told(usage.Units{usage.AudioIn: 80}), seconds.Guess, usage.SourceEstimated, 0},
		"seconds, too many":         {&seconds, told(usage.Units{usage.Seconds: 45}), seconds.Guess, usage.SourceEstimated, usage.FlagUsageSuspect},
		"pictures":                  {&pictures, Report{Images: 1, Began: true}, usage.Units{usage.Images: 1}, usage.SourceReported, 0},
		"pictures beside tokens":    {&pictures, Report{Units: usage.Units{usage.ImageOut: 80}, Source: usage.SourceReported, Images: 2, Began: true}, usage.Units{usage.Images: 2}, usage.SourceReported, 0},
		"pictures, more than asked": {&pictures, Report{Images: 3, Began: true}, pictures.Guess, usage.SourceEstimated, usage.FlagUsageSuspect},
		"searches":                  {&searches, told(usage.Units{usage.Searches: 2}), usage.Units{usage.Searches: 2}, usage.SourceReported, 0},
		"searches, only tokens":     {&searches, told(usage.Units{usage.Input: 200}), searches.Guess, usage.SourceEstimated, 0},
		"characters":                {&letters, told(usage.Units{usage.Input: 200}), letters.Guess, usage.SourceEstimated, 0},
	} {
		u, source, flags := c.p.Final(&c.r)
		if u != c.units || source != c.source || flags != c.flags {
			t.Errorf("%s: %v %s %s; want %v %s %s", name, u, source, flags, c.units, c.source, c.flags)
		}
	}
}
