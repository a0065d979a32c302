import { type Backend, canonicalModelName } from '../domain/model.ts';
import { findModel } from '../domain/routing.ts';

/** As many models as get metrics of their own; the rest share `other`. */
const MAX_MODELS = 50;
/** Spellings remembered, so that a token costs one look-up. */
const MAX_SPELLINGS = 256;

/**
 * Metrics by model, made once per model and then looked up by the name as it came. A name is only a label where some
 * backend has that model: callers choose names, and must not choose how many series there are.
 */
export function createModelLabels<M>(
  backends: () => readonly Backend[],
  create: (model: string) => M,
): (model: string) => M {
  const bySpelling = new Map<string, M>();
  const byModel = new Map<string, M>();
  let other: M | undefined;
  const others = () => {
    other ??= create('other');
    return other;
  };

  return (spelling) => {
    const remembered = bySpelling.get(spelling);
    if (remembered) return remembered;

    const model = canonicalModelName(spelling);
    let metrics = byModel.get(model);
    if (!metrics) {
      if (!findModel(model, backends())) return others();
      metrics = byModel.size < MAX_MODELS ? create(model) : others();
      byModel.set(model, metrics);
    }
    if (bySpelling.size < MAX_SPELLINGS) bySpelling.set(spelling, metrics);
    return metrics;
  };
}
