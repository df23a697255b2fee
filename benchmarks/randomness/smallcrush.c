/* Runs TestU01's SmallCrush on 32-bit words from standard input, and prints a line for
   each p-value: "p-value", the test and the number, with tabs between them. Stops with
   status 2 where the words end too early. */

#include <stdio.h>
#include <stdlib.h>

#include <testu01/bbattery.h>
#include <testu01/swrite.h>
#include <testu01/unif01.h>

#define WORDS 16384

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

int main(void) {
  char name[] = "stdin";
  unif01_Gen *source = unif01_CreateExternGenBits(name, next_word);
  swrite_Basic = FALSE;
  bbattery_SmallCrush(source);
  for (int i = 0; i < bbattery_NTests; i++) {
    printf("p-value\t%s\t%.17g\n", bbattery_TestNames[i], bbattery_pVal[i]);
  }
  unif01_DeleteExternGenBits(source);
  return 0;
}
