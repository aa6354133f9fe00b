//go:build race

package relay

// poisons has poison do so.
const poisons = true
