package catalog

// Abilities is what a model can do beside answering texts, as its tags say.
type Abilities uint8

// The abilities.
const (
	CanSee       Abilities = 1 << iota // tag vision: pictures in
	CanCall                            // tag tools
	CanStructure                       // tag structured-output: answers of a given JSON schema
	CanRead                            // tag files: documents in
)

var abilityTags = map[string]Abilities{"vision": CanSee, "tools": CanCall, "structured-output": CanStructure, "files": CanRead}

func abilities(tags []string) (a Abilities) {
	for _, t := range tags {
		a |= abilityTags[t]
	}
	return a
}
