/* Runs SmallCrush or Crush of TestU01 on 32-bit words from standard input, test by
   test, and prints a line for each p-value: "p-value", the name and the number of the
   test, and the p-value, with tabs between them. Stops with status 2 where the words end
   too early. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <testu01/bbattery.h>
#include <testu01/swrite.h>
#include <testu01/unif01.h>

#define WORDS 16384

/* TestU01 counts tests from 1. */
#define SMALLCRUSH_TESTS 10
#define CRUSH_TESTS 96

static unsigned int words[WORDS];
static size_t next = WORDS;

static unsigned int next_word(void) {
  if (next == WORDS) {
    if (fread(words, sizeof words[0], WORDS, stdin) != WORDS) {
      fprintf(stderr, "the words ended before the battery did\n");
      exit(2);
    }
    next = 0;
  }
  return words[next++];
}

int main(int argc, char **argv) {
  if (argc != 2 || (strcmp(argv[1], "SmallCrush") && strcmp(argv[1], "Crush"))) {
    fprintf(stderr, "usage: testu01 SmallCrush|Crush\n");
    return 1;
  }
  int large = strcmp(argv[1], "Crush") == 0;
  char name[] = "stdin";
  unif01_Gen *source = unif01_CreateExternGenBits(name, next_word);
  swrite_Basic = FALSE;
  for (int test = 1; test <= (large ? CRUSH_TESTS : SMALLCRUSH_TESTS); test++) {
    int times[CRUSH_TESTS + 1] = {0};
    times[test] = 1;
    (large ? bbattery_RepeatCrush : bbattery_RepeatSmallCrush)(source, times);
    for (int i = 0; i < bbattery_NTests; i++) {
      printf("p-value\t%s\t%d\t%.17g\n", bbattery_TestNames[i], test, bbattery_pVal[i]);
    }
    fflush(stdout);
  }
  unif01_DeleteExternGenBits(source);
  return 0;
}
