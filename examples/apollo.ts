/**
 * Apollo Client: queries and mutations over HTTP, answers as they are made over WebSocket.
 *
 *     npx node examples/apollo.ts 'Why is the sky blue?'
 */
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from '@apollo/client';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { OperationTypeNode } from 'graphql';
import { Answer, Models, StreamAnswer } from './documents.ts';
import { type Gateway, gateway, question } from './gateway.ts';
import type { ChatCompletionInput } from './generated/graphql.ts';
import { connect } from './plain.ts';

export interface Connection {
  readonly client: ApolloClient;
  close(): Promise<void>;
}

export function createApollo({ url, key }: Gateway): Connection {
  const socket = connect({ url, key });
  const http = new HttpLink({ uri: url, headers: { authorization: `Bearer ${key}` } });
  const link = ApolloLink.split(
    ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
    new GraphQLWsLink(socket),
    http,
  );
  const client = new ApolloClient({ link, cache: new InMemoryCache() });
  return {
    client,
    async close() {
      client.stop();
      await socket.dispose();
    },
  };
}

/** Models are worth caching: they have ids, and change rarely. */
export async function listModels(client: ApolloClient): Promise<readonly string[]> {
  const { data } = await client.query({ query: Models });
  return data?.models?.map((model) => model.name) ?? [];
}

/** @throws Error with the message of what went wrong. */
export async function ask(client: ApolloClient, input: ChatCompletionInput): Promise<string> {
  // An answer is nothing to look up again, so it stays out of the cache.
  const { data } = await client.mutate({ mutation: Answer, variables: { input }, fetchPolicy: 'no-cache' });
  const result = data?.createChatCompletion;
  if (result?.__typename === 'ChatCompletion') return result.choices[0]?.message.content ?? '';
  throw new Error(result?.message ?? 'There is no answer.');
}

/**
 * Asks, and passes the text on as it comes.
 * @returns what stops the answer, and a promise of its end.
 */
export function streamAnswer(
  client: ApolloClient,
  input: ChatCompletionInput,
  onText: (text: string) => void,
): { readonly stop: () => void; readonly ended: Promise<void> } {
  const { promise: ended, resolve, reject } = Promise.withResolvers<void>();
  const answer = client.subscribe({
    query: StreamAnswer,
    variables: { input, coalesceMs: 30 },
    fetchPolicy: 'no-cache',
  });
  const subscription = answer.subscribe({
    next({ data, error }) {
      if (error) return reject(error);
      const event = data?.chatCompletion;
      if (event?.__typename === 'ChatContentDelta') onText(event.content);
      if (event?.__typename === 'ChatFailed') reject(new Error(event.error.message));
    },
    error: reject,
    complete: resolve,
  });
  const stop = () => {
    subscription.unsubscribe();
    resolve();
  };
  return { stop, ended };
}

if (import.meta.main) {
  const { client, close } = createApollo(gateway);
  console.log(`Models: ${(await listModels(client)).join(', ')}`);
  await streamAnswer(client, question, (text) => void process.stdout.write(text)).ended;
  console.log();
  await close();
}
