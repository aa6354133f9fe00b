package main

// commands lists the operator commands, in the order of the help.
var commands []command

// The table refers to functions that refer to help texts, so it is filled at start.
func init() {
	commands = []command{
		{
			name: "serve", args: "[--migrate]", run: serve,
			summary: "Serve the customer API and the operator API.",
			detail:  "Waits until the schema is there; with --migrate brings it there first.",
		},
		{
			name: "migrate", run: migrate,
			summary: "Bring the database schema to this version.",
		},
		{
			name: "apply", args: "FILE [--dry-run]", run: apply,
			summary: "Bring the catalogue to what a file says (YAML or JSON, - is stdin).",
			detail: "Idempotent; prints what changed. Secrets in the file are env:NAME, file:/path or\n" +
				"the secret itself; a key whose variable is not set is left out with a warning.",
		},
		{
			name: "export", run: exportCatalog,
			summary: "Print the catalogue as it stands, secrets left out.",
		},
		{
			name: "client create", args: "NAME [--group G] [--credit USD] [--multiplier M]", run: clientCreate,
			summary: "Make a customer with its wallet.",
		},
		{
			name: "client list", run: clientList,
			summary: "List the customers with their balances.",
		},
		{
			name: "client retention", args: "CLIENT HOURS", run: clientRetention,
			summary: "Say for how long a customer's answers are kept to be repeated (0 to 24; 0: not at all).",
			detail:  "Only answers to requests with an Idempotency-Key are kept, encrypted. Without them a repetition is refused.",
		},
		{
			name: "credit", args: "CLIENT USD [--note TEXT] [--ref ID]", run: credit,
			summary: "Book money on a customer's wallet.",
			detail: "A negative amount is a correction and stands behind --, as in: admin credit acme -- -5\n" +
				"With --ref the booking is made once, however often the command runs.",
		},
		{
			name: "voucher create", args: "USD [--count N] [--note TEXT] [--expires TIME]", run: voucherCreate,
			summary: "Make codes that customers redeem for money, each once; they are printed this once.",
		},
		{
			name: "key create", args: "--client NAME --name TEXT", run: keyCreate,
			summary: "Make a customer key; its token is printed this once and never again.",
		},
		{
			name: "key list", args: "--client NAME", run: keyList,
			summary: "List a customer's keys, without their tokens.",
		},
		{
			name: "key disable", args: "ID", run: keyStatus("disable"),
			summary: "Disable a key; running streams are cut within a second.",
		},
		{
			name: "key enable", args: "ID", run: keyStatus("enable"),
			summary: "Enable a disabled key.",
		},
		{
			name: "key revoke", args: "ID", run: keyStatus("revoke"),
			summary: "Revoke a key for good.",
		},
		{
			name: "user create", args: "EMAIL [--client NAME] [--operator]", run: userCreate,
			summary: "Make a console account.",
			detail: "The password is the first line of stdin; where stdin is a terminal or empty, one is\n" +
				"generated and printed this once.",
		},
		{
			name: "audit", args: "[--deep] [--client NAME] [--since DATE] [--journals WHERE] [--statement MONTH --csv FILE] [--strict]", run: audit,
			summary: "Re-derive every balance and charge; exit 1 and the rows if anything disagrees.",
			detail: "Closed hours are taken from the roll-ups and the chain of days; --deep adds every row\n" +
				"again. Nothing is locked, traffic goes on.\n" +
				"Exit codes: 0 the books are right, 1 they are broken, 2 they could not be checked.",
		},
		{
			name: "journal verify", args: "DIR", run: journalVerify,
			summary: "Read a proxy's journal: name any damage, count records, add up charges.",
			detail: "DIR is a proxy's data folder; the proxy may be running. Nothing is changed. Exit codes:\n" +
				"0 whole (a torn tail is no damage), 1 damaged, 2 it could not be read.",
		},
		{
			name: "journal salvage", args: "DIR [--out FILE] [--ship]", run: journalSalvage,
			summary: "Keep what is good of a damaged journal, also behind the damage.",
			detail: "--out writes the records as JSON lines, --ship books them, each request once however\n" +
				"often it is booked. The journal is not changed: move it away afterwards, and the proxy\n" +
				"starts with a new one. Exit codes: 0 all was good, 1 damaged and the rest saved, 2 not saved.",
		},
		{
			name: "proxy list", run: proxyList,
			summary: "List the proxies and the revision each has applied.",
		},
		{
			name: "proxy lost", args: "NAME", run: proxyLost,
			summary: "Declare a proxy dead for good and free the money it had borrowed.",
			detail: "Only for a machine that will not come back: what its journal still holds is then\n" +
				"charged late, if it is ever found, and the house pays what the wallet cannot.",
		},
	}
}
