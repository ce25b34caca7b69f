# What this gateway takes from other agents. "data" is [config] of plugin.toml.
package ogp

# What a message may not be. Each text is a reason.
message.deny contains sprintf("nobody here takes the topic %q", [input.message.topic]) if {
	input.message.intent == "agent-comms"
	not listed(input.message.topic)
}

message.deny contains sprintf("%d bytes of text, at most %d", [input.message.textBytes, data.max_text_bytes]) if {
	input.message.textBytes > data.max_text_bytes
}

# On days off, only the team's messages reach the agent; the others wait for a human.
message.hold contains sprintf("%s is a day off", [day]) if {
	not "team" in input.peer.tags
	day := time.weekday([time.now_ns(), data.time_zone])
	day in data.days_off
}

listed(topic) if topic in data.topics

listed(topic) if {
	some prefix in data.topics
	startswith(topic, concat("", [prefix, "/"]))
}

# Strangers: a gateway of our own domain is approved, and gets what its offer and plugin.toml have in common.
default request.decision := "hold"

request.decision := {"decision": "allow", "grants": grants} if {
	input.request.urlVerified
	own_domain
	count(grants) > 0
}

request.decision := {"decision": "deny", "reason": "it offers nothing"} if {
	count(object.get(input.request, "offeredIntents", [])) == 0
	not own_domain
}

own_domain if {
	some domain in data.domains
	regex.match(sprintf(`^https://([a-z0-9-]+\.)*%s(:[0-9]+)?(/|$)`, [replace(domain, ".", `\.`)]), input.peer.gatewayUrl)
}

grants := [{"intent": intent} |
	some intent in data.grant
	intent in object.get(input.request, "offeredIntents", [])
]
