/** What answers of the deployment are read with. */
import type { z } from 'zod';
import { type Answer, type Asked, type Client, NoAnswer } from './client.ts';
import { valueAt } from './json.ts';

/** A status and, where it is an error of either protocol, its message. */
export function describeAnswer({ status, json }: Pick<Answer, 'status' | 'json'>): string {
  const message = valueAt(json, 'error', 'message') ?? valueAt(json, 'errors', 0, 'message');
  return typeof message === 'string' ? `${status} (${message})` : `${status}`;
}

/** The first thing that is wrong with an answer which should have this status and shape. */
export function findMismatch(answer: Answer, status: number, schema: z.ZodType): string | undefined {
  if (answer.status !== status) return `${describeAnswer(answer)} instead of ${status}`;
  if (answer.json === undefined) return `${status} with a body that is not JSON`;
  const issue = schema.safeParse(answer.json).error?.issues[0];
  return issue && `${status} with a wrong body, at ${issue.path.join('.') || 'its top'}: ${issue.message}`;
}

export interface GraphQLAnswer {
  readonly answer: Answer;
  readonly data: unknown;
  /** Of the first error. */
  readonly errorCode: string | undefined;
}

/** The code of a gateway that executes nothing but the documents it was given, and of which this one is none. */
export const PERSISTED_ONLY = 'PERSISTED_DOCUMENT_REQUIRED';

export function errorCodeOf(json: unknown): string | undefined {
  const code = valueAt(json, 'errors', 0, 'extensions', 'code');
  return typeof code === 'string' ? code : undefined;
}

/** Asks by POST, as any client does. @throws NoAnswer */
export async function query(
  client: Client,
  document: string,
  asked: Omit<Asked, 'body'> = {},
): Promise<GraphQLAnswer> {
  const answer = await client.ask('/graphql', { ...asked, body: { query: document } });
  return { answer, data: valueAt(answer.json, 'data') ?? undefined, errorCode: errorCodeOf(answer.json) };
}

const AT_A_TIME = 6;

/** Runs tasks a few at a time, so that a check is no load test. @returns the results in the tasks' order. */
export async function runSome<T>(count: number, task: (index: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (let from = 0; from < count; from += AT_A_TIME) {
    const size = Math.min(AT_A_TIME, count - from);
    results.push(...(await Promise.all(Array.from({ length: size }, (_, index) => task(from + index)))));
  }
  return results;
}

/** Awaits an answer; a deployment that does not give one is described instead. */
export async function orProblem<T>(answer: Promise<T>): Promise<T | string> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof NoAnswer) return error.message;
    throw error;
  }
}

/** `2 × 502, 1 × no answer in time`: how often each text comes, most often first. */
export function tally(texts: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  const sorted = [...counts].sort((a, b) => b[1] - a[1]);
  return sorted.map(([text, count]) => `${count} × ${text}`).join(', ');
}

/** A secret that has the form of a key, and that nobody has. */
export function inventKey(): string {
  return `llmgw_${crypto.randomUUID().replaceAll('-', '')}${crypto.randomUUID().slice(0, 8)}`;
}
