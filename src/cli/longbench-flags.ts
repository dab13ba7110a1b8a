// The flags of LongBench's scores, which eval and score share, and what they act on.
import { type Command, Option } from 'commander';
import type { Use } from '../config/idle.ts';
import { CODE_SIMILARITIES, type CodeSimilarity } from '../eval/metrics/edit-similarity.ts';
import { ANSWER_CUTS, type AnswerCut, usesCodeSimilarity, usesLongbench } from '../eval/suites/longbench-score.ts';

export interface LongbenchFlags {
  readonly codeSimilarity: CodeSimilarity;
  readonly answerCut: AnswerCut;
}

export function addLongbenchOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--code-similarity <how>', 'score of lcc and repobench-p; difflib is that of the published tables')
        .choices([...CODE_SIMILARITIES])
        .default('difflib'),
    )
    .addOption(
      new Option('--answer-cut <where>', "end of LongBench answers: whole, or llama-3 as in DuoAttention's tables")
        .choices([...ANSWER_CUTS])
        .default('whole'),
    );
}

/** @param tasks names of what is scored, as rows have them. */
export function listLongbenchFlagUses(tasks: readonly string[]): Use[] {
  return [
    { flag: '--code-similarity', isUsed: tasks.some(usesCodeSimilarity), needs: "LongBench's lcc or repobench-p" },
    { flag: '--answer-cut', isUsed: tasks.some(usesLongbench), needs: 'sets of LongBench' },
  ];
}
