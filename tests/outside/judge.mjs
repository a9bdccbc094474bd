// Judges requests with the packages that receivers of webhooks use: one JSON object a line in, one verdict a line out.
import { createInterface } from "node:readline";
import { HTTP } from "cloudevents";
import { Webhook } from "standardwebhooks";

const judges = {
  standardwebhooks: ({ secret, headers, body }) => new Webhook(secret).verify(body, headers),
  cloudevents: ({ headers, body }) => {
    const event = HTTP.toEvent({ headers, body });
    event.validate();
    return event.toJSON();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  try {
    console.log(JSON.stringify({ right: true, found: judges[asked.judge](asked) }));
  } catch (error) {
    console.log(JSON.stringify({ right: false, why: String(error) }));
  }
}
