import { readiness } from '../../../src/rest/openai/response-schema.ts';
import { describeAnswer, errorCodeOf, orProblem, PERSISTED_ONLY, runSome, tally } from '../answers.ts';
import { type Check, type Context, failed, judge } from '../check.ts';
import type { Answer, Client } from '../client.ts';
import { valueAt } from '../json.ts';
import { askBySocket, describeOutcome, FORBIDDEN } from '../socket.ts';

/** Enough to meet every replica of a usual deployment. */
const LOOKS = 9;
/** A service that refuses the key is there all the same. */
const IS_THERE = [200, 401, 403];
const FIRST_EVENT = 'subscription { viewerLimits { mode } }';

/** Whether everything that clients use is there: both protocols, each way of streaming, and what stands behind them. */
export const services: Check = {
  name: 'services',
  lookAt: 'the containers (docker compose ps) and their logs; for WebSocket, the Upgrade headers in nginx',
  async run(context) {
    const { client, options, found } = context;
    const greetings = await runSome(3, () => orProblem(client.ask('/health', { key: null })));
    const silences = greetings.filter((greeting) => typeof greeting === 'string');
    if (silences.length === greetings.length) {
      found.unreachable = true;
      const why = `nothing answers at ${options.url}: ${silences[0]}`;
      return failed(why, 'the address, and whether nginx runs');
    }
    const rest = await orProblem(client.ask('/v1/models'));
    if (typeof rest !== 'string' && rest.status === 401) found.keyRefused = true;
    const problems = [judgeService('REST', rest), ...(await tryGraphQL(context))];
    const dependencies = await readDependencies(context);
    return judge(
      [...problems.filter((problem) => problem !== undefined), ...dependencies.problems],
      `REST, GraphQL, server-sent events and WebSocket answer; ${dependencies.saw}`,
    );
  },
};

/** @param answer what there is instead, in words, where nothing came. */
function judgeService(name: string, answer: Answer | string): string | undefined {
  if (typeof answer === 'string') return `${name}: ${answer}`;
  // Both protocols give every answer an id; whatever else might answer in their place need not.
  if (answer.header('x-request-id') === undefined) return `${name}: ${answer.status}, but not of the gateway`;
  const isThere = IS_THERE.includes(answer.status) || errorCodeOf(answer.json) === PERSISTED_ONLY;
  return isThere ? undefined : `${name}: ${describeAnswer(answer)}`;
}

async function tryGraphQL({ client, options, found }: Context): Promise<readonly (string | undefined)[]> {
  const single = await orProblem(client.ask('/graphql', { body: { query: '{ __typename }' } }));
  if (typeof single !== 'string' && errorCodeOf(single.json) === PERSISTED_ONLY) found.persistedOnly = true;
  const outcome = await askBySocket(client, options.key, FIRST_EVENT);
  const isThere =
    outcome.kind === 'result' ||
    (outcome.kind === 'refused' && outcome.code === PERSISTED_ONLY) ||
    (outcome.kind === 'closed' && outcome.code === FORBIDDEN);
  return [
    judgeService('GraphQL', single),
    await tryEventStream(client),
    isThere ? undefined : `WebSocket: ${describeOutcome(outcome)}`,
  ];
}

async function tryEventStream(client: Client): Promise<string | undefined> {
  const name = 'server-sent events';
  const headers = { accept: 'text/event-stream' };
  const readFirst = async () => {
    const { status, pieces } = await client.stream('/graphql', { body: { query: FIRST_EVENT }, headers });
    let text = '';
    for await (const piece of pieces) {
      text += piece;
      if (text.includes('event: next')) break;
    }
    return { status, text };
  };
  const first = await orProblem(readFirst());
  if (typeof first === 'string') return `${name}: ${first}`;
  if (first.text.includes(PERSISTED_ONLY)) return undefined;
  if (first.status !== 200) return IS_THERE.includes(first.status) ? undefined : `${name}: ${first.status}`;
  return first.text.includes('event: next') ? undefined : `${name}: no event came`;
}

/** From the worst to the best. */
const STATES = ['down', 'simulator', 'embedded', 'up'];

/** What `/ready` says, where the deployment shows it to the outside. */
async function readDependencies({ client, found }: Context) {
  const problems: string[] = [];
  const closed: string[] = [];
  for (const answer of await runSome(LOOKS, () => orProblem(client.ask('/ready', { key: null })))) {
    if (typeof answer === 'string') problems.push(`/ready: ${answer}`);
    else if (!readiness.safeParse(answer.json).success) closed.push(String(answer.status));
    else {
      noteStates(answer, found.dependencies);
      if (valueAt(answer.json, 'draining') === true) problems.push('a replica is shutting down');
    }
  }
  for (const [name, state] of found.dependencies) {
    if (state === 'down') problems.push(`/ready says that ${name} is down`);
    if (state === 'simulator') problems.push('a simulator stands in for Ollama, so answers are made up');
  }
  const states = [...found.dependencies].map(([name, state]) => `${name} ${state}`);
  const saw = states.length > 0 ? `/ready: ${states.join(', ')}` : `/ready is closed (${tally(closed)})`;
  return { problems, saw };
}

function noteStates({ json }: Answer, dependencies: Map<string, string>): void {
  const answered = valueAt(json, 'dependencies');
  for (const name of Object.keys(answered ?? {})) {
    const state = String(valueAt(answered, name, 'state'));
    const known = dependencies.get(name) ?? 'up';
    dependencies.set(name, STATES.indexOf(state) < STATES.indexOf(known) ? state : known);
  }
}
