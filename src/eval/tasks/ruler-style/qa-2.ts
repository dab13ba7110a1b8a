// Multi-hop questions over the user's HotpotQA file.
import { defineQaTask } from './qa.ts';

export const qa2 = defineQaTask('qa_2', 'hotpotqa');
