// Package sdk holds the tests that customers' own tools work against the relay: the
// official SDKs and the documented samples, on the real programs.
//
// Everything runs with
//
//	go test ./shared/apptest/sdk
//
// and one suite alone with one of
//
//	go test ./shared/apptest/sdk -run TestSDK/python
//	go test ./shared/apptest/sdk -run TestSDK/node
//	go test ./shared/apptest/sdk -run TestSDK/go
//	go test ./shared/apptest/sdk -run TestSDK/go-alpha
//	go test ./shared/apptest/sdk -run TestSDK/bodies
//	go test ./shared/apptest/sdk -run TestSDK/samples
//	go test ./shared/apptest/sdk -run TestSDK/dashscope
//	go test ./shared/apptest/sdk -run TestSDK/replay (with a folder of recordings)
//
// Beside it TestSchemathesis makes requests of the two published OpenAPI documents, make
// schemathesis also random ones.
//
// With -v also the versions and every scenario's time. The suites' programs are in
// shared/apptest/python, node and gosdk; they report each scenario on a line of
// JSON, which becomes a subtest here, and the names that must appear are listed
// here, so that a scenario cannot get lost.
//
// Needed: python3 with venv, node with npm, and curl; as root on Debian or Ubuntu
// they are installed where they are missing. The packages come from their indexes at
// locked versions and hashes, and are kept in .cache under the lock's hash. Where no
// index answers, the test fails with a line that says so.
package sdk
