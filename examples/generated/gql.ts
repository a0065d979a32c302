/* eslint-disable */
import * as types from './graphql.ts';
import type { TypedDocumentNode as DocumentNode } from '@graphql-typed-document-node/core';

/**
 * Map of all GraphQL operations in the project.
 *
 * This map has several performance disadvantages:
 * 1. It is not tree-shakeable, so it will include all operations in the project.
 * 2. It is not minifiable, so the string of a GraphQL query will be multiple times inside the bundle.
 * 3. It does not support dead code elimination, so it will add unused operations.
 *
 * Therefore it is highly recommended to use the babel or swc plugin for production.
 * Learn more about it here: https://the-guild.dev/graphql/codegen/plugins/presets/preset-client#reducing-bundle-size
 */
type Documents = {
    "\n  subscription StreamAnswer($input: ChatCompletionInput!, $coalesceMs: Int! = 0) {\n    chatCompletion(input: $input, coalesceMs: $coalesceMs) {\n      __typename\n      completionId\n      sequence\n      ... on ChatQueued { position }\n      ... on ChatModelLoading { model }\n      ... on ChatStarted { model warnings }\n      ... on ChatReasoningDelta { reasoning }\n      ... on ChatContentDelta { content }\n      ... on ChatFinished {\n        choices { finishReason }\n        usage { promptTokens completionTokens }\n      }\n      ... on ChatFailed {\n        error { ...Failure }\n      }\n    }\n  }\n": typeof types.StreamAnswerDocument,
    "\n  mutation Answer($input: ChatCompletionInput!) {\n    createChatCompletion(input: $input) {\n      __typename\n      ... on ChatCompletion {\n        choices {\n          finishReason\n          message { content toolCalls { id name arguments } }\n        }\n        usage { totalTokens }\n      }\n      ...Failure\n    }\n  }\n": typeof types.AnswerDocument,
    "\n  fragment Failure on Error {\n    __typename\n    code\n    message\n    retryable\n    ... on RateLimitedError { limitName retryAfterMs }\n    ... on UpstreamUnavailableError { retryAfterMs }\n    ... on GatewayUnavailableError { retryAfterMs }\n    ... on InvalidRequestError { path }\n  }\n": typeof types.FailureFragmentDoc,
    "\n  query Models {\n    models { id name capabilities contextLength }\n  }\n": typeof types.ModelsDocument,
};
const documents: Documents = {
    "\n  subscription StreamAnswer($input: ChatCompletionInput!, $coalesceMs: Int! = 0) {\n    chatCompletion(input: $input, coalesceMs: $coalesceMs) {\n      __typename\n      completionId\n      sequence\n      ... on ChatQueued { position }\n      ... on ChatModelLoading { model }\n      ... on ChatStarted { model warnings }\n      ... on ChatReasoningDelta { reasoning }\n      ... on ChatContentDelta { content }\n      ... on ChatFinished {\n        choices { finishReason }\n        usage { promptTokens completionTokens }\n      }\n      ... on ChatFailed {\n        error { ...Failure }\n      }\n    }\n  }\n": types.StreamAnswerDocument,
    "\n  mutation Answer($input: ChatCompletionInput!) {\n    createChatCompletion(input: $input) {\n      __typename\n      ... on ChatCompletion {\n        choices {\n          finishReason\n          message { content toolCalls { id name arguments } }\n        }\n        usage { totalTokens }\n      }\n      ...Failure\n    }\n  }\n": types.AnswerDocument,
    "\n  fragment Failure on Error {\n    __typename\n    code\n    message\n    retryable\n    ... on RateLimitedError { limitName retryAfterMs }\n    ... on UpstreamUnavailableError { retryAfterMs }\n    ... on GatewayUnavailableError { retryAfterMs }\n    ... on InvalidRequestError { path }\n  }\n": types.FailureFragmentDoc,
    "\n  query Models {\n    models { id name capabilities contextLength }\n  }\n": types.ModelsDocument,
};

/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 *
 *
 * @example
 * ```ts
 * const query = graphql(`query GetUser($id: ID!) { user(id: $id) { name } }`);
 * ```
 *
 * The query argument is unknown!
 * Please regenerate the types.
 */
export function graphql(source: string): unknown;

/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  subscription StreamAnswer($input: ChatCompletionInput!, $coalesceMs: Int! = 0) {\n    chatCompletion(input: $input, coalesceMs: $coalesceMs) {\n      __typename\n      completionId\n      sequence\n      ... on ChatQueued { position }\n      ... on ChatModelLoading { model }\n      ... on ChatStarted { model warnings }\n      ... on ChatReasoningDelta { reasoning }\n      ... on ChatContentDelta { content }\n      ... on ChatFinished {\n        choices { finishReason }\n        usage { promptTokens completionTokens }\n      }\n      ... on ChatFailed {\n        error { ...Failure }\n      }\n    }\n  }\n"): (typeof documents)["\n  subscription StreamAnswer($input: ChatCompletionInput!, $coalesceMs: Int! = 0) {\n    chatCompletion(input: $input, coalesceMs: $coalesceMs) {\n      __typename\n      completionId\n      sequence\n      ... on ChatQueued { position }\n      ... on ChatModelLoading { model }\n      ... on ChatStarted { model warnings }\n      ... on ChatReasoningDelta { reasoning }\n      ... on ChatContentDelta { content }\n      ... on ChatFinished {\n        choices { finishReason }\n        usage { promptTokens completionTokens }\n      }\n      ... on ChatFailed {\n        error { ...Failure }\n      }\n    }\n  }\n"];
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  mutation Answer($input: ChatCompletionInput!) {\n    createChatCompletion(input: $input) {\n      __typename\n      ... on ChatCompletion {\n        choices {\n          finishReason\n          message { content toolCalls { id name arguments } }\n        }\n        usage { totalTokens }\n      }\n      ...Failure\n    }\n  }\n"): (typeof documents)["\n  mutation Answer($input: ChatCompletionInput!) {\n    createChatCompletion(input: $input) {\n      __typename\n      ... on ChatCompletion {\n        choices {\n          finishReason\n          message { content toolCalls { id name arguments } }\n        }\n        usage { totalTokens }\n      }\n      ...Failure\n    }\n  }\n"];
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  fragment Failure on Error {\n    __typename\n    code\n    message\n    retryable\n    ... on RateLimitedError { limitName retryAfterMs }\n    ... on UpstreamUnavailableError { retryAfterMs }\n    ... on GatewayUnavailableError { retryAfterMs }\n    ... on InvalidRequestError { path }\n  }\n"): (typeof documents)["\n  fragment Failure on Error {\n    __typename\n    code\n    message\n    retryable\n    ... on RateLimitedError { limitName retryAfterMs }\n    ... on UpstreamUnavailableError { retryAfterMs }\n    ... on GatewayUnavailableError { retryAfterMs }\n    ... on InvalidRequestError { path }\n  }\n"];
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  query Models {\n    models { id name capabilities contextLength }\n  }\n"): (typeof documents)["\n  query Models {\n    models { id name capabilities contextLength }\n  }\n"];

export function graphql(source: string) {
  return (documents as any)[source] ?? {};
}

export type DocumentType<TDocumentNode extends DocumentNode<any, any>> = TDocumentNode extends DocumentNode<  infer TType,  any>  ? TType  : never;