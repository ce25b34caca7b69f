package rendezvous

import "testing"

// OpenStore gives the servers of tests another store than memory, closed when the test
// ends; nil: memory.
var OpenStore func(t testing.TB, o ServerOptions) Store

// Suite is what a server promises on any store. Each of its tests also stands by itself,
// on memory.
var Suite = []struct {
	Name string
	Run  func(*testing.T)
}{
	{"SeedsAPI", TestSeedsAPI},
	{"RecordedClients", TestRecordedClients},
	{"LivesOf90Seconds", TestLivesOf90Seconds},
	{"L1RegistrationTwins", TestL1RegistrationTwins},
	{"L4RegistrationWindow", TestL4RegistrationWindow},
	{"V1RecordIsKeptWhole", TestV1RecordIsKeptWhole},
	{"V1SignedLife", TestV1SignedLife},
	{"V2UnsignedNeverReplacesSigned", TestV2UnsignedNeverReplacesSigned},
	{"V2RequireSigned", TestV2RequireSigned},
	{"V2OlderIsRefused", TestV2OlderIsRefused},
	{"V2AddressIsTheConnections", TestV2AddressIsTheConnections},
	{"V2ClockThatWasAhead", TestV2ClockThatWasAhead},
	{"V3Deregister", TestV3Deregister},
	{"V4Invites", TestV4Invites},
	{"V4ListAndRevoke", TestV4ListAndRevoke},
	{"V4PublicTextsAreNoInvites", TestV4PublicTextsAreNoInvites},
	{"V4MissesAreLimitedPerAddress", TestV4MissesAreLimitedPerAddress},
	{"V4MissesAreLimitedInAll", TestV4MissesAreLimitedInAll},
	{"V5Bounds", TestV5Bounds},
	{"SelfPreservation", TestSelfPreservation},
	{"MaxAge", TestMaxAge},
	{"MaxAgeIsNoOutage", TestMaxAgeIsNoOutage},
	{"Metrics", TestMetrics},
	{"ClientRegistersAndDeregisters", TestClientRegistersAndDeregisters},
	{"ClientInvites", TestClientInvites},
}
