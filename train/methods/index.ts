// The registry of methods: what `--method` may name.
import { ConfigError } from '../../src/errors/errors.ts';
import { attentionMassMethod } from './attention-mass.ts';
import { gatesMethod } from './gates.ts';
import { meanQueryKeyMethod } from './mean-query-key.ts';
import type { HeadMethod } from './method.ts';
import { quadraticMethod } from './quadratic.ts';
import { retrievalScoreMethod } from './retrieval-score.ts';

export const HEAD_METHODS: readonly HeadMethod[] = [
  gatesMethod,
  quadraticMethod,
  attentionMassMethod,
  meanQueryKeyMethod,
  retrievalScoreMethod,
];

/** The method of a name. @throws {ConfigError} unknown; names those there are. */
export function findMethod(name: string): HeadMethod {
  const method = HEAD_METHODS.find((candidate) => candidate.name === name);
  if (method) return method;
  const known = HEAD_METHODS.map((candidate) => candidate.name).join(', ');
  throw new ConfigError(`Expected \`method\` to be one of ${known}, got \`${name}\`.`);
}
