// Package apptest runs the real programs for tests of the whole: admin, proxies and
// the mock provider as processes of their own, over a private Postgres, on free
// ports of 127.0.0.1, with their own folders.
//
//	s := apptest.Start(t, apptest.Options{Proxies: 3})
//	client := s.CreateClient("acme", "10")
//	key := s.CreateKey(client.ID)
//	r := s.Proxy(0).Do(apptest.Chat(key.Token, "mock-chat", "hello mock:id=1;out=5"))
//	s.Audit()
//
// Everything ends with the test, also when it fails or panics: the kernel kills the
// children when their parent is gone. Logs are printed when a test has failed.
//
// RELAY_TEST_BIN names a folder with the programs admin, proxy and mockllm; without
// it they are built once per test process.
package apptest
