import { describeAnswer, orProblem, runSome, tally } from '../answers.ts';
import {
  type Check,
  type Context,
  expectedReplicas,
  failed,
  judge,
  passed,
  skipped,
  type Verdict,
} from '../check.ts';
import { readAll } from '../client.ts';
import { parseJson } from '../json.ts';
import { agrees, chooseWitness, type Look, lookAtLimits, showsRequest, type Witness } from '../limits.ts';

const MESSAGES = [{ role: 'user', content: 'Count from one to five hundred, in words.' }];
/** How often to look again where the answer was over before all replicas had been asked. */
const ATTEMPTS = 3;
/** How long a request that is being answered may stay unseen. */
const UNSEEN_MS = 3000;
const LOOK_EVERY_MS = 20;

/**
 * Whether the replicas count limits together: while one request runs, every look at the limits has to show it,
 * whichever replica answers. A replica that has lost Redis says itself that it counts alone.
 */
export const redis: Check = {
  name: 'Redis',
  lookAt:
    'Redis (docker compose ps redis), REDIS_URL of every replica, and "redis" in the log of the gateway',
  needsKey: true,
  asksModel: true,
  async run(context) {
    const { found } = context;
    const state = found.dependencies.get('redis');
    if (state === 'down') return failed('/ready says that it is down: each replica counts limits alone');
    const isAlone = expectedReplicas(context) === 1;
    if (found.persistedOnly) {
      return isAlone ? judgeOne(state) : judgeUnseen(context, 'GraphQL executes persisted documents only');
    }
    const count = 4 * Math.max(2, expectedReplicas(context));
    const { looks, problems } = await lookAround(context, count);
    const degraded = looks.filter(({ isDegraded }) => isDegraded).length;
    if (degraded > 0)
      problems.push(`${degraded} of ${count} looks say that limits are counted by a replica alone`);
    if (problems.length > 0) return judge(problems, '');

    if (isAlone) return judgeOne(state);
    if (state === 'embedded')
      return failed('a replica counts for itself', 'REDIS_URL, which a replica lacks');
    const witness = looks[0] && chooseWitness(looks[0]);
    if (!witness) return judgeUnseen(context, 'the key has no limit on concurrent requests or tokens');
    if (found.answeredRequest === undefined) return judgeUnseen(context, 'no model answers');
    const verdict = await watchRequests(context, witness, count);
    return verdict ?? judgeUnseen(context, 'answers were over too soon');
  },
};

/** Where nothing shows that limits are shared, the word of the gateway counts, and else it depends on what was asked. */
function judgeUnseen({ found, options }: Context, why: string): Verdict {
  const unseen = `that the replicas share their limits could not be seen: ${why}`;
  if (found.dependencies.get('redis') === 'up') return passed(`/ready says that it is up; ${unseen}`);
  return (options.replicas ?? 1) > 1 ? failed(unseen, 'the limits of the key given') : skipped(unseen);
}

/** With one replica, the limits look the same whoever counts them. */
function judgeOne(state: string | undefined): Verdict {
  if (state === 'up') return passed('/ready says that it is up; limits are counted exactly');
  return skipped(
    state === 'embedded'
      ? 'there is no Redis: the gateway counts limits itself, which is for one replica'
      : 'only one replica answers and /ready is closed, so that who counts its limits does not show',
  );
}

async function lookAround({ client }: Context, count: number) {
  const answers = await runSome(count, () => orProblem(lookAtLimits(client)));
  const looks = answers.filter((answer) => typeof answer !== 'string');
  const missed = answers.filter((answer) => typeof answer === 'string');
  return { looks, problems: missed.length > 0 ? [`of ${count} looks at the limits: ${tally(missed)}`] : [] };
}

/** @returns undefined where no request ran for long enough. */
async function watchRequests(
  context: Context,
  witness: Witness,
  count: number,
): Promise<Verdict | undefined> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const earlier = await lookAtLimits(context.client);
    const request = startRequest(context, witness);
    try {
      const first = await untilSeen(context, witness, earlier, request);
      if (request.problem) return failed(`the request that was to be counted: ${request.problem}`);
      if (first === 'unseen') return failed('a running request is not counted at all');
      if (first === 'over') continue;
      const { looks, problems } = await lookAround(context, count);
      if (problems.length > 0) return judge(problems, '');
      const told = looks.map((look) => agrees(witness, look, first)).filter((agrees) => agrees !== undefined);
      const apart = told.filter((agrees) => !agrees).length;
      if (apart === 0 && told.length === count) {
        return passed(
          `all of ${count} looks at the limits count one running request, whichever replica answers`,
        );
      }
      // Once it is over, its place is free again and no look can show it.
      if (request.isOver || told.length < count) continue;
      return failed(`${apart} of ${count} looks do not count a running request: the replicas count apart`);
    } finally {
      request.stop();
    }
  }
  return undefined;
}

interface RunningRequest {
  /** Its status is there. */
  isAnswered: boolean;
  isOver: boolean;
  problem?: string;
  stop(): void;
}

/** Asks for a long answer and reads it until told to stop. */
function startRequest({ client, found, options }: Context, { maxTokens }: Witness): RunningRequest {
  const leaving = new AbortController();
  const request: RunningRequest = { isAnswered: false, isOver: false, stop: () => leaving.abort() };
  const body = { model: found.model, messages: MESSAGES, max_tokens: maxTokens, stream: true };
  const follow = async () => {
    const asked = { body, timeoutMs: options.answerTimeoutMs, signal: leaving.signal };
    const { status, pieces } = await client.stream('/v1/chat/completions', asked);
    request.isAnswered = true;
    const text = await readAll(pieces);
    if (status !== 200) request.problem = describeAnswer({ status, json: parseJson(text) });
  };
  const end = (problem?: string) => {
    request.isOver = true;
    if (problem !== undefined && !leaving.signal.aborted) request.problem = problem;
  };
  follow().then(
    () => end(),
    (error: Error) => end(error.message),
  );
  return request;
}

/**
 * Looks until the request shows, is over, or should have shown. Several looks at once, because who balances by
 * connections sends a single one past the replica that is busy with the request.
 */
async function untilSeen(
  context: Context,
  witness: Witness,
  earlier: Look,
  request: RunningRequest,
): Promise<Look | 'over' | 'unseen'> {
  let answeredAt: number | undefined;
  for (;;) {
    const { looks } = await lookAround(context, 2 * expectedReplicas(context));
    const first = looks.find((look) => showsRequest(witness, look, earlier));
    if (first) return first;
    if (request.isOver) return 'over';
    if (request.isAnswered) answeredAt ??= performance.now();
    if (answeredAt !== undefined && performance.now() - answeredAt > UNSEEN_MS) return 'unseen';
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}
