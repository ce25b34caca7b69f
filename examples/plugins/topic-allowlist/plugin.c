/* Lets agent-comms through on listed topics alone. Other intents are not its business.
 *
 * An entry allows the topic of that name and all below it: "work" allows "work" and
 * "work/plan", and not "workshop". */
#include "ogp.h"

static char topics[8192]; /* the entries, a line each */

OGP_EXPORT(ogp_init) int ogp_init(int len) {
	int n = ogp_text("config.topics", topics, sizeof topics);
	(void)len;
	if (n < 0 || n >= (int)sizeof topics)
		return ogp_fail("topics must be a list of strings, at most 8 KiB in all");
	return OGP_DONE;
}

/* covers says whether an entry of n bytes allows a topic. */
static int covers(const char *entry, int n, const char *topic) {
	for (int i = 0; i < n; i++)
		if (topic[i] != entry[i]) return 0;
	return n > 0 && (topic[n] == 0 || topic[n] == '/');
}

static int listed(const char *topic) {
	for (const char *entry = topics; *entry;) {
		int n = 0;
		while (entry[n] && entry[n] != '\n') n++;
		if (covers(entry, n, topic)) return 1;
		entry += n + (entry[n] == '\n');
	}
	return 0;
}

static ogp_decision decide(void) {
	static char topic[256];
	int n;
	if (!ogp_same("message.intent", "agent-comms")) return ogp_abstain();
	n = ogp_text(ogp_has("message.topic") ? "message.topic" : "message.payload.topic", topic, sizeof topic);
	if (n <= 0 || n >= (int)sizeof topic)
		return ogp_deny("no_topic", "a message needs a topic of at most 255 bytes");
	if (!listed(topic)) return ogp_deny("topic_not_allowed", "this topic is not on the list");
	return ogp_allow();
}

OGP_ON_MESSAGE(decide)
