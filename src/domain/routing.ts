import { type Backend, canonicalModelName, type Model } from './model.ts';

/**
 * What a model that is not in memory weighs, in requests in flight. Loading one takes from seconds to minutes, and may
 * push out another that is in use: about as long as it takes a backend to answer a few requests. A queue longer than that
 * is worth a second copy.
 */
const COLD_WEIGHT = 4;

/**
 * The backends to try for a model, best first: healthy, holding the model, fewest requests in flight, where a backend that
 * has to load the model first counts as having more; among equals in turn, so that several idle replicas do not all choose
 * the same.
 * @param turn any number that differs from request to request.
 */
export function rankBackends(model: string, backends: readonly Backend[], turn: number): readonly Backend[] {
  const able = backends.filter((backend) => backend.healthy && backend.models.has(model));
  if (able.length < 2) return able;
  const start = turn % able.length;
  const inTurn = [...able.slice(start), ...able.slice(0, start)];
  const weight = (backend: Backend) => backend.inFlight + (backend.loaded.has(model) ? 0 : COLD_WEIGHT);
  return inTurn.sort((a, b) => weight(a) - weight(b));
}

/** Every model that a healthy backend has, by id, in the order of the backends. */
export function servedModels(backends: readonly Backend[]): ReadonlyMap<string, Model> {
  const models = new Map<string, Model>();
  for (const backend of backends) {
    if (!backend.healthy) continue;
    for (const [id, model] of backend.models) if (!models.has(id)) models.set(id, model);
  }
  return models;
}

/** The model a caller means by a name, among those that any of the backends, healthy or not, has or had. */
export function findModel(name: string, backends: readonly Backend[]): Model | undefined {
  const wanted = canonicalModelName(name);
  let away: Model | undefined;
  for (const { models, healthy } of backends) {
    const model = byCanonicalName(models).get(wanted);
    if (model && healthy) return model;
    away ??= model;
  }
  return away;
}

const indexes = new WeakMap<Backend['models'], ReadonlyMap<string, Model>>();

/** Made once for each list of models, which backends have dozens of, and which every request is looked up in. */
function byCanonicalName(models: Backend['models']): ReadonlyMap<string, Model> {
  const known = indexes.get(models);
  if (known) return known;
  const index = new Map<string, Model>();
  for (const [id, model] of models) {
    const name = canonicalModelName(id);
    if (!index.has(name)) index.set(name, model);
  }
  indexes.set(models, index);
  return index;
}
