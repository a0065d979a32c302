import { describe, expect, test } from '@jest/globals';
import { decodeEmbedding } from '../../../src/providers/ollama/embedding.ts';

const request = { kind: 'embedding', model: 'm', inputs: ['a', 'b'] } as const;

describe('embeddings', () => {
  test('are one batch: the vectors in order, then the end without reasons', () => {
    const answer = {
      embeddings: [
        [1, 0],
        [0, 1],
      ],
      prompt_eval_count: 4,
      load_duration: 2_000_000,
    };
    expect(decodeEmbedding(answer, request, ['It did nothing.'])).toEqual([
      {
        type: 'embedded',
        model: 'm',
        warnings: ['It did nothing.'],
        vectors: [
          [1, 0],
          [0, 1],
        ],
      },
      { type: 'finished', reasons: [], usage: { promptTokens: 4 }, timings: { loadMs: 2 } },
    ]);
  });

  test('an unknown count stays unknown', () => {
    expect(decodeEmbedding({ embeddings: [[1], [1]], prompt_eval_count: -3 }, request, [])[1]).toMatchObject({
      usage: {},
    });
  });

  test('a server that ignores the dimensions has its vectors cut and normalised', () => {
    const answer = {
      embeddings: [
        [0.6, 0.8, 5],
        [0, 0, 1],
      ],
    };
    const [embedded] = decodeEmbedding(answer, { ...request, dimensions: 2 }, []);
    expect(embedded).toMatchObject({
      vectors: [
        [expect.closeTo(0.6), expect.closeTo(0.8)],
        [0, 0],
      ],
    });
  });

  test('more dimensions than the model has are the caller’s mistake', () => {
    const decode = () => decodeEmbedding({ embeddings: [[1], [1]] }, { ...request, dimensions: 2 }, []);
    expect(decode).toThrow(expect.objectContaining({ code: 'invalid_request', param: 'dimensions' }));
  });

  test.each([
    null,
    {},
    { embeddings: 'x' },
    { embeddings: [] },
    { embeddings: [[1]] },
    { embeddings: [[1], [1], [1]] },
    { embeddings: [[1], []] },
    { embeddings: [[1], [null]] },
    { embeddings: [[1], ['1']] },
    { embeddings: [[1], [Number.POSITIVE_INFINITY]] },
    { embeddings: [[1], [1, 2]] },
  ])('anything but one finite vector per input is incomplete: %j', (answer) => {
    expect(() => decodeEmbedding(answer, request, [])).toThrow(
      expect.objectContaining({ code: 'upstream_incomplete' }),
    );
  });
});
