/**
 * The operations that the examples share. `graphql` returns each with the types of its variables and its result, which
 * the code generator has written to `generated/`: after a change here, run `npm run generate`.
 */
import { graphql } from './generated/gql.ts';

/** An answer, piece by piece. The last event is `ChatFinished` or `ChatFailed`. */
export const StreamAnswer = graphql(/* GraphQL */ `
  subscription StreamAnswer($input: ChatCompletionInput!, $coalesceMs: Int! = 0) {
    chatCompletion(input: $input, coalesceMs: $coalesceMs) {
      __typename
      completionId
      sequence
      ... on ChatQueued { position }
      ... on ChatModelLoading { model }
      ... on ChatStarted { model warnings }
      ... on ChatReasoningDelta { reasoning }
      ... on ChatContentDelta { content }
      ... on ChatFinished {
        choices { finishReason }
        usage { promptTokens completionTokens }
      }
      ... on ChatFailed {
        error { ...Failure }
      }
    }
  }
`);

/** An answer in one piece. What can be expected to go wrong is one of its results. */
export const Answer = graphql(/* GraphQL */ `
  mutation Answer($input: ChatCompletionInput!) {
    createChatCompletion(input: $input) {
      __typename
      ... on ChatCompletion {
        choices {
          finishReason
          message { content toolCalls { id name arguments } }
        }
        usage { totalTokens }
      }
      ...Failure
    }
  }
`);

/** Every failure has a code and a message; some say more. */
export const Failure = graphql(/* GraphQL */ `
  fragment Failure on Error {
    __typename
    code
    message
    retryable
    ... on RateLimitedError { limitName retryAfterMs }
    ... on UpstreamUnavailableError { retryAfterMs }
    ... on GatewayUnavailableError { retryAfterMs }
    ... on InvalidRequestError { path }
  }
`);

/** What there is to choose from. */
export const Models = graphql(/* GraphQL */ `
  query Models {
    models { id name capabilities contextLength }
  }
`);
