// Cuts a λ path into a mask without new measurements: at a λ, or where a share of the heads streams.
// A fraction ranks heads by the order that came with the path, else by how long they stay open along it: raising it never turns a head back.
import type { GateGrid } from '../src/core/shapes.ts';
import { ConfigError } from '../src/errors/errors.ts';
import type { GatesFile, LambdaPath } from '../src/formats/gates.ts';

/** A head keeps the whole context where its gate is at least this; the quadratic's own gates are mostly 0 or 1. */
export const PATH_THRESHOLD = 0.5;

/** The path of gates.json. @throws {ConfigError} it has none. */
export function requirePath(gates: GatesFile): LambdaPath {
  if (gates.path) return gates.path;
  const method = typeof gates.provenance.method === 'string' ? gates.provenance.method : 'unknown';
  throw new ConfigError(
    `Expected gates with a λ path to cut at a λ, found none: method \`${method}\` gives gates of one λ alone; cut by streamingFraction or threshold, or identify with --method quadratic.`,
  );
}

/** Gates at one λ, linear between the path's points; beyond its ends those of the end.
 * @param lambda > 0.  @returns `[layers][kvHeads]`, 0..1. @throws {ConfigError} λ is not a finite number above 0. */
export function findGatesAt(path: LambdaPath, lambda: number): GateGrid {
  if (!(Number.isFinite(lambda) && lambda > 0)) {
    throw new ConfigError(`Expected \`lambda\` to be a number above 0, got \`${lambda}\`.`);
  }
  const { lambdas, gates } = path;
  const above = lambdas.findIndex((point) => point >= lambda);
  if (above === 0) return copyGrid(gates[0] as GateGrid);
  if (above < 0) return copyGrid(gates.at(-1) as GateGrid);
  const [left, right] = [lambdas[above - 1] as number, lambdas[above] as number];
  const share = (lambda - left) / (right - left);
  return (gates[above - 1] as GateGrid).map((row, layer) =>
    row.map((gate, head) => gate + share * ((gates[above]?.[layer]?.[head] as number) - gate)),
  );
}

/** The order in which heads close, in one grid: the path's own ranking, else how long each head stays open along the path, the mean of
 * its gate over log λ. 0..1. */
export function rankPath(path: LambdaPath): GateGrid {
  const { lambdas, gates, ranking } = path;
  if (ranking) return copyGrid(ranking);
  const first = gates[0] as GateGrid;
  if (lambdas.length === 1) return copyGrid(first);
  const span = Math.log((lambdas.at(-1) as number) / (lambdas[0] as number));
  return first.map((row, layer) =>
    row.map((_, head) => {
      let area = 0;
      for (let index = 1; index < lambdas.length; index++) {
        const width = Math.log((lambdas[index] as number) / (lambdas[index - 1] as number));
        const pair = (gates[index - 1]?.[layer]?.[head] as number) + (gates[index]?.[layer]?.[head] as number);
        area += (width * pair) / 2;
      }
      // Rounding may carry a head that never closes past 1.
      return Math.min(1, area / span);
    }),
  );
}

function copyGrid(grid: GateGrid): GateGrid {
  return grid.map((row) => [...row]);
}
