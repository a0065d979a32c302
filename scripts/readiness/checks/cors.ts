import { orProblem } from '../answers.ts';
import { type Check, type Context, failed, judge, skipped, type Verdict } from '../check.ts';
import type { Answer } from '../client.ts';

/** An origin that no list has, so that only `*` lets it in. */
const SOME_ORIGIN = 'https://readiness.invalid';
const HINT =
  'nginx: CORS headers come from the gateway alone, and a second one makes browsers drop the answer';

const requestedHeaders = ['authorization', 'content-type', 'x-stainless-lang', 'x-stainless-retry-count'];

/** Whether answers, failures among them, can be read by pages of another origin. */
export const corsHeaders: Check = {
  name: 'CORS headers',
  lookAt: HINT,
  async run({ client, options }) {
    const headers = { origin: options.origin ?? SOME_ORIGIN };
    const asked = [
      ['GET /v1/models', client.ask('/v1/models', { headers })],
      ['a refusal', client.ask('/v1/models', { headers, key: null })],
      ['an unknown path', client.ask('/v1/readiness', { headers })],
      ['POST /graphql', client.ask('/graphql', { headers, body: { query: '{ __typename }' } })],
    ] as const;
    return await judgeAnswers(options, asked, (answer) => {
      const exposed = answer.values('access-control-expose-headers');
      if (exposed.length !== 1) return `has ${exposed.length} Access-Control-Expose-Headers`;
      return /\bx-request-id\b/i.test(exposed[0] ?? '') ? undefined : 'does not expose x-request-id';
    });
  },
};

/** Whether a browser is let through when it asks for leave to send what clients send. */
export const preflight: Check = {
  name: 'preflight',
  lookAt: `whether OPTIONS reaches the gateway without a key; ${HINT}`,
  async run({ client, options }) {
    const headers = {
      origin: options.origin ?? SOME_ORIGIN,
      'access-control-request-method': 'POST',
      'access-control-request-headers': requestedHeaders.join(','),
    };
    const paths = ['/v1/chat/completions', '/graphql'];
    const asked = paths.map(
      (path) => [`OPTIONS ${path}`, client.ask(path, { method: 'OPTIONS', headers, key: null })] as const,
    );
    return await judgeAnswers(options, asked, (answer) => {
      if (answer.status !== 200 && answer.status !== 204) return `is answered with ${answer.status}`;
      const methods = listOf(answer, 'access-control-allow-methods');
      const allowed = listOf(answer, 'access-control-allow-headers');
      if (!methods.includes('post') && !methods.includes('*')) return 'does not allow POST';
      // A wildcard does not cover Authorization.
      const missing = requestedHeaders.filter((name) => !allowed.includes(name));
      return missing.length > 0 ? `does not allow ${missing.join(', ')}` : undefined;
    });
  },
};

async function judgeAnswers(
  options: Context['options'],
  asked: readonly (readonly [string, Promise<Answer>])[],
  findProblem: (answer: Answer) => string | undefined,
): Promise<Verdict> {
  const origin = options.origin ?? SOME_ORIGIN;
  const problems: string[] = [];
  let closed = 0;
  for (const [name, awaited] of asked.map(([name, answer]) => [name, orProblem(answer)] as const)) {
    const answer = await awaited;
    if (typeof answer === 'string') {
      problems.push(`${name}: ${answer}`);
      continue;
    }
    const allowed = answer.values('access-control-allow-origin');
    const isListed = allowed.length === 0 && answer.values('vary').join().toLowerCase().includes('origin');
    if (isListed) closed++;
    else if (allowed.length !== 1) problems.push(`${name} has ${allowed.length} Access-Control-Allow-Origin`);
    else if (allowed[0] !== '*' && allowed[0] !== origin)
      problems.push(`${name} allows ${allowed[0]} instead of ${origin}`);
    const problem = isListed ? undefined : findProblem(answer);
    if (problem) problems.push(`${name} ${problem}`);
  }
  if (problems.length === 0 && closed === asked.length) {
    return options.origin === undefined
      ? skipped('CORS_ORIGINS lists the origins that may call; --origin with one of them makes this a check')
      : failed(`pages of ${origin} may not call`, 'CORS_ORIGINS, which lists the origins that may call');
  }
  if (closed > 0) problems.push(`${closed} of ${asked.length} answers allow no origin`);
  return judge(problems, `exactly one of each for ${asked.map(([name]) => name).join(', ')}`);
}

function listOf(answer: Answer, name: string): readonly string[] {
  return answer.values(name).flatMap((value) => value.split(',').map((item) => item.trim().toLowerCase()));
}
