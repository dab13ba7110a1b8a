// Single-hop questions over the user's SQuAD file.
import { defineQaTask } from './qa.ts';

export const qa1 = defineQaTask('qa_1', 'squad');
