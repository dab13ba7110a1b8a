// Valid prediction files of the official projects, small, one per suite, for the fuzzer to damage.

export interface PredictionSeed {
  readonly suite: string;
  /** the file's name, which names its set */
  readonly file: string;
  readonly seeds: readonly Buffer[];
}

const lines = (...records: object[]): Buffer => Buffer.from(records.map((one) => `${JSON.stringify(one)}\n`).join(''));

export const PREDICTIONS: readonly PredictionSeed[] = [
  {
    suite: 'longbench',
    file: 'pred/model/trec.jsonl',
    seeds: [lines({ pred: '\nDate\nCity', answers: ['Date'], all_classes: ['Date', 'City'], length: 5000 })],
  },
  {
    suite: 'longbench-v2',
    file: 'results/model.jsonl',
    seeds: [
      lines({ answer: 'C', response: 'The correct answer is (C)', difficulty: 'easy', length: 'short' }),
      lines({ answer: 'C', pred: null, judge: false }),
    ],
  },
  {
    suite: 'infinitebench',
    file: 'model/preds_math_calc.jsonl',
    seeds: [lines({ id: 0, prediction: '79, 59, 3', ground_truth: [[79, 59, 3]] }, { pred: '1', label: [1] })],
  },
  {
    suite: 'ruler',
    file: 'niah_multivalue.jsonl',
    seeds: [lines({ index: 0, pred: 'one two', outputs: ['one', 'two'], others: {}, truncation: -1, length: 9 })],
  },
  {
    suite: 'kvpress',
    file: 'predictions.csv',
    seeds: [
      Buffer.from(
        'question,answer,task,predicted_answer\n"Which?\nA. one\nB. two\nC. three\nD. four",[\'C\'],longbook_choice_eng,three\n' +
          '"What, ""then""?","[\'48\' \'7\\x41\']",niah_multivalue,"48\n more"\n',
      ),
      Buffer.from("answers,all_classes,task,length,predicted_answer\n['Date'],['Date' 'City'],trec-e,9000,Date\n"),
    ],
  },
];
