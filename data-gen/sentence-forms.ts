// Sentence forms of the prose generator: words as they are written, and slots in braces.
// {name} the sentence's actor, {other} someone else of the scene, {He} {he} {his} the actor's pronouns; {noun} {adjective} {action} {deed}
// {place} follow the preferences of the word before them; {scene} is the place of the paragraph. The rest are drawn freely.

/** Forms that say who acts by name; a paragraph begins with one of these. */
export const NAMED_FORMS: readonly string[] = [
  '{name} {action} the {adjective} {noun} in the {place}.',
  '{name} {action} a {adjective} {noun} and {deed} {adverb}.',
  '{name} {deed} {position} the {adjective} {place}.',
  '{name} and {other} {deed} in the {scene} until {daypart}.',
  '{name} {action} the {noun}, but {other} {action} the {noun}.',
  '{name} said that the {noun} was too {adjective}.',
  '{name} asked {other} about the {adjective} {noun}.',
  '{name} gave the {noun} to {other}, who {deed} {adverb}.',
  '{name}, who {deed} in the {place}, {action} every {noun}.',
  'In the {place} {name} {action} a {noun} for {other}.',
  'On {weekday} {name} {action} the {noun} and the {noun}.',
  'On {weekday} {daypart} {name} {deed} from the {place} to the {place}.',
  'When the {weather} came, {name} {deed} in the {place}.',
  'Before {daypart} {name} {action} the {adjective} {noun} again.',
  'After a {adjective} {daypart} {name} {deed} with {other}.',
  'Every {season} {name} {action} a {noun} {position} the {place}.',
  'The {noun} of {name} was {adjective} and very {adjective}.',
  'The {adjective} {noun} was for {name}, not for {other}.',
  'Where was the {noun}, {name} asked, and why was it so {adjective}?',
  'Was the {noun} in the {place}, or had {name} {action} it?',
  'The {noun} was in the {place}, said {name}, and {other} {deed}.',
  'Nobody but {name} {action} the {adjective} {noun}.',
  'While {other} {deed}, {name} {action} the {noun} {position} the {noun}.',
];

/** Forms that lean on the sentence before; never first in a paragraph. */
export const FOLLOWING_FORMS: readonly string[] = [
  '{He} {action} the {adjective} {noun} because {he} {action} the {noun}.',
  '{He} {deed} {adverb} in the {place}.',
  'Then {he} {action} a {noun} from the {place}.',
  '{He} thought of {other} and {his} {adjective} {noun}.',
  'But the {noun} was {adjective}, so {he} {deed} {adverb}.',
  'Later {he} {deed} with {other} in the {scene}.',
  'It was a {adjective} {daypart}, and {he} {deed} {position} the {place}.',
  'There was no {noun} in the {adjective} {place}.',
  'There was {weather} over the {scene} all {daypart}.',
  'The {weather} was {adjective}, and the {scene} was {adjective}.',
  'That {season} the {scene} was {adjective} and {adjective}.',
  'One {noun} was {adjective}, the other {adjective}.',
  'At {daypart} the {scene} was {adjective} as a {noun}.',
  'If the {noun} was {adjective}, {he} {action} it {adverb}.',
];
