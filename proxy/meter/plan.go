package meter

import "tokenrelay/shared/usage"

// Plan says how a request beside the conversations is billed. It is made when the request
// is admitted, by what its model's price counts.
type Plan struct {
	// By is the class that is counted: Characters, Seconds, Images, Searches, or Input for
	// tokens of every kind.
	By usage.Class
	// Guess is what is billed where the provider does not say: exact where the request
	// itself tells it (characters), else an estimate.
	Guess usage.Units
	// Most is more than the provider can truthfully report; what is beyond is not believed.
	Most usage.Units
}

// Report is what is known when the answer is over.
type Report struct {
	Units      usage.Units
	Source     usage.Source
	Impossible bool  // a figure came that can be no count
	Seconds    int64 // of sound, said beside the units, 0 = not said
	Images     int64 // that were made
	Began      bool  // something was produced
}

// Final decides the units, where they come from, and the flags they earn. Without output
// nothing is due. Units of other classes than the plan's never count: the same sound is not
// billed by its tokens and by its seconds.
func (p *Plan) Final(r *Report) (u usage.Units, source usage.Source, flags usage.Flags) {
	if !r.Began && r.Source != usage.SourceReported {
		return u, usage.SourceNone, suspect(r.Impossible)
	}
	told := r.Source == usage.SourceReported
	switch p.By {
	case usage.Input:
		input, output := sides(&r.Units)
		if told = told && input+output > 0; told {
			mostIn, mostOut := sides(&p.Most)
			if r.Impossible || input > mostIn || output > mostOut || input < 0 || output < 0 {
				return p.Guess, usage.SourceEstimated, usage.FlagUsageSuspect
			}
			u = r.Units
			u[usage.Characters], u[usage.Seconds], u[usage.Images], u[usage.Searches] = 0, 0, 0, 0
			return u, usage.SourceReported, 0
		}
		return p.Guess, usage.SourceEstimated, suspect(r.Impossible)
	case usage.Images:
		u[usage.Images] = r.Images
		if r.Images == 0 { // it began, and nobody counted
			u[usage.Images] = p.Guess[usage.Images]
		}
		told = true
	case usage.Seconds:
		if u[usage.Seconds] = r.Units[usage.Seconds]; u[usage.Seconds] == 0 {
			u[usage.Seconds] = r.Seconds
		}
		told = u[usage.Seconds] > 0
	case usage.Searches:
		u[usage.Searches] = r.Units[usage.Searches]
		told = told && u[usage.Searches] > 0
	default:
		return p.Guess, usage.SourceEstimated, suspect(r.Impossible)
	}
	if !told || r.Impossible && p.By != usage.Images || u[p.By] < 0 || u[p.By] > p.Most[p.By] {
		return p.Guess, usage.SourceEstimated, suspect(told || r.Impossible)
	}
	return u, usage.SourceReported, 0
}
