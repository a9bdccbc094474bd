// Evaluates flags with OpenFeature's own providers, unmodified: `flags.mjs URL`, the key in the environment as KEY.
// Prints what a server's client and a browser's client see, and with which statuses the browser's client was answered.
import { OFREPProvider } from "@openfeature/ofrep-provider";
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";
import { OpenFeature as Server } from "@openfeature/server-sdk";
import { OpenFeature as Web } from "@openfeature/web-sdk";

const [baseUrl] = process.argv.slice(2);
const headers = [["X-Internal-API-Key", process.env.KEY]];
const context = { targetingKey: "somebody" };
const statuses = [];

async function watched(...asked) {
  const answer = await fetch(...asked);
  statuses.push(answer.status);
  return answer;
}

async function again(status) {
  for (let tries = 0; tries < 100 && !statuses.includes(status); tries++) await new Promise((go) => setTimeout(go, 50));
}

const short = ({ value, variant, reason, errorCode }) => ({ value, variant, reason, errorCode });

await Server.setProviderAndWait(new OFREPProvider({ baseUrl, headers }));
const server = Server.getClient();
const served = {
  there: short(await server.getBooleanDetails("search_catalog", false, context)),
  gone: short(await server.getBooleanDetails("warp_drive", true, context)),
};

await Web.setContext(context);
await Web.setProviderAndWait(
  new OFREPWebProvider({ baseUrl, headers, pollInterval: 50, fetchImplementation: watched }),
);
const web = Web.getClient();
await again(304);
const shown = {
  there: short(web.getBooleanDetails("search_catalog", false)),
  gone: short(web.getBooleanDetails("warp_drive", true)),
};

console.log(JSON.stringify({ served, shown, statuses: [...new Set(statuses)] }));
process.exit(0);
