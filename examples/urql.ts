/**
 * urql: answers as they are made over WebSocket, or over HTTP as server-sent events.
 *
 *     npx node examples/urql.ts 'Why is the sky blue?'
 */
import {
  type Client,
  createClient,
  type ExecutionResult,
  fetchExchange,
  subscriptionExchange,
} from '@urql/core';
import { Answer, StreamAnswer } from './documents.ts';
import { type Gateway, gateway, question } from './gateway.ts';
import type { ChatCompletionInput } from './generated/graphql.ts';
import { connect } from './plain.ts';

export interface Connection {
  readonly client: Client;
  close(): Promise<void>;
}

const authorize = (key: string) => ({ headers: { authorization: `Bearer ${key}` } });

/** Queries and mutations over HTTP, subscriptions over one WebSocket. */
export function createUrql({ url, key }: Gateway): Connection {
  const socket = connect({ url, key });
  const client = createClient({
    url,
    fetchOptions: authorize(key),
    preferGetMethod: false,
    exchanges: [
      fetchExchange,
      subscriptionExchange({
        forwardSubscription: ({ query = '', variables }) => ({
          subscribe: (sink) => ({
            unsubscribe: socket.subscribe(
              { query, variables },
              // What urql calls the same is a little stricter about what is absent.
              { ...sink, next: (result) => sink.next(result as ExecutionResult) },
            ),
          }),
        }),
      }),
    ],
  });
  return { client, close: async () => socket.dispose() };
}

/** Everything over HTTP, for where WebSockets do not get through. Each answer is a request of its own. */
export function createUrqlOverHttp({ url, key }: Gateway): Connection {
  const client = createClient({
    url,
    fetchOptions: authorize(key),
    preferGetMethod: false,
    fetchSubscriptions: true,
    exchanges: [fetchExchange],
  });
  return { client, close: async () => undefined };
}

/** @throws Error with the message of what went wrong. */
export async function ask(client: Client, input: ChatCompletionInput): Promise<string> {
  const { data, error } = await client.mutation(Answer, { input }).toPromise();
  if (error) throw error;
  const result = data?.createChatCompletion;
  if (result?.__typename === 'ChatCompletion') return result.choices[0]?.message.content ?? '';
  throw new Error(result?.message ?? 'There is no answer.');
}

/**
 * Asks, and passes the text on as it comes.
 * @returns what stops the answer, and a promise of its end.
 */
export function streamAnswer(
  client: Client,
  input: ChatCompletionInput,
  onText: (text: string) => void,
): { readonly stop: () => void; readonly ended: Promise<void> } {
  const { promise: ended, resolve, reject } = Promise.withResolvers<void>();
  const answer = client.subscription(StreamAnswer, { input, coalesceMs: 30 });
  const subscription = answer.subscribe(({ data, error }) => {
    if (error) return reject(error);
    const event = data?.chatCompletion;
    if (event?.__typename === 'ChatContentDelta') onText(event.content);
    if (event?.__typename === 'ChatFinished') resolve();
    if (event?.__typename === 'ChatFailed') reject(new Error(event.error.message));
  });
  const stop = () => {
    subscription.unsubscribe();
    resolve();
  };
  return { stop, ended };
}

if (import.meta.main) {
  const { client, close } = createUrql(gateway);
  await streamAnswer(client, question, (text) => void process.stdout.write(text)).ended;
  console.log();
  await close();
}
