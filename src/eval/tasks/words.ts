// Words, numbers and identifiers the tasks hide and ask for; all drawn from the generator given.
import type { Random } from '../../core/random.ts';

const words = (text: string): readonly string[] => text.trim().split(/\s+/);

export const ADJECTIVES = words(`
  agile amber ample arctic azure balmy blank bold brave brief brisk bronze bumpy calm candid civic clever cobalt coral
  cosmic crimson crisp curly dapper daring deep dense dizzy droll dusky eager early elfin fabled faint festive fluent
  foggy frugal gentle giant gilded glad glassy golden grand hardy hasty hazel hearty hidden hollow humble icy idle
  indigo ivory jaunty jolly keen lavish lilac limber liquid lively lofty lucid lunar mellow mighty misty mossy nimble
  noble olive opal pale pearly placid plucky polar proud quaint rapid regal ripe robust rosy rustic sandy scarlet
  serene silken simple sleek snowy solar sparse speedy spry stark sturdy subtle sunny tangy tender tidy tiny tranquil
  upbeat vast velvet vivid wary whimsical wise witty woven zesty`);

export const NOUNS = words(`
  acorn anchor anvil apricot arrow badger bamboo banjo barley basil beacon beaver bison blossom bonnet boulder bramble
  breeze bridge bucket buffalo cabin cactus camel canoe canyon caravan carpet cedar cello chimney cicada cinder clover
  cobra comet compass condor cottage crater cricket crystal cypress dagger daisy delta dolphin dragon drummer eagle
  easel ember falcon feather fern ferry fiddle finch fjord flint forge fossil fountain galaxy garnet gazelle geyser
  glacier goblet gopher granite grotto hamlet harbor harp hazelnut helmet heron hickory hornet iguana inlet jaguar
  jasmine jigsaw juniper kestrel kettle lagoon lantern laurel lemon lichen lily lobster locket lotus lynx magnet mango
  maple marble marten meadow meteor mitten monsoon moose mosaic mussel nectar nettle nutmeg oasis ocelot orchid osprey
  otter oyster paddle pagoda panther papaya parrot pebble pelican pepper petal pigeon pillar piston planet plateau
  poplar prairie prism puffin pumpkin quarry quartz quiver rabbit raccoon raven reef ribbon river rocket rooster saddle
  saffron salmon sapphire satchel scarab sequoia shadow shuttle sickle skylark sparrow spindle spruce squirrel statue
  sunset tapir temple thicket thimble thistle tiger timber topaz torch tulip tundra turbine turnip turtle valley vessel
  viper volcano walnut walrus warbler willow window wombat yarrow zebra zephyr`);

/** Names and the answer alphabet of the small vocabulary: each is one token for the demo model. */
export const SMALL_NAMES = words(
  'Anna Boris Clara Daniel Elena Felix Greta Henry Irene Jonas Karin Leo Maria Nina Otto Paula',
);
export const SMALL_ANSWER_WORDS = words(`
  alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november oscar papa quebec romeo
  sierra tango uniform victor whiskey xray yankee zulu`);

/** A random UUID, version 4. */
export function drawUuid(random: Random): string {
  const hex = Array.from({ length: 32 }, () => random.integer(16).toString(16));
  hex[12] = '4';
  hex[16] = (8 + random.integer(4)).toString(16);
  const text = hex.join('');
  return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join('-');
}

/** A number of exactly `digits` digits, the first not 0. */
export function drawNumber(random: Random, digits: number): string {
  const first = String(1 + random.integer(9));
  return first + Array.from({ length: digits - 1 }, () => random.integer(10)).join('');
}

/** How many different words `drawHyphenated` gives with one adjective. */
export const HYPHENATED_WORDS = ADJECTIVES.length * NOUNS.length;

/** `adjective-noun`, or with two adjectives one of some three million: for texts that take more than half of the others. */
export function drawHyphenated(random: Random, numAdjectives = 1): string {
  const parts = Array.from({ length: numAdjectives }, () => random.pick(ADJECTIVES));
  return [...parts, random.pick(NOUNS)].join('-');
}

/** `count` values of `draw` that differ from each other and for which `isFree` holds; tries a bounded number of times.
 * @throws {RangeError} too few different values exist. */
export function drawDistinct(options: {
  readonly count: number;
  readonly draw: () => string;
  readonly isFree?: (value: string) => boolean;
}): string[] {
  const { count, draw, isFree = () => true } = options;
  const drawn = new Set<string>();
  for (let tries = 0; drawn.size < count; tries++) {
    if (tries > 1000 + 100 * count)
      throw new RangeError(`drawDistinct: expected ${count} different values, found ${drawn.size}`);
    const value = draw();
    if (isFree(value)) drawn.add(value);
  }
  return [...drawn];
}
