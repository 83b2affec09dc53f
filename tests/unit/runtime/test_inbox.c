/* Mailbox and inbox: order, back-pressure, wake-ups, between two threads. */
#include "base/limits.h"
#include "runtime/inbox.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SENDERS = 3, LETTERS = 20000, EVENTS = 200000 };

struct test_letter {
  struct letter letter;
  int sender, number;
};

struct sender {
  struct mailbox *mailbox;
  struct test_letter *letters;
};

static void *send_all(void *argument) {
  struct sender *sender = argument;
  for (int i = 0; i < LETTERS; i++) mailbox_put(sender->mailbox, &sender->letters[i].letter);
  return NULL;
}

static void test_mailbox(void **state) {
  (void)state;
  struct mailbox mailbox;
  mailbox_init(&mailbox);
  pthread_t thread[SENDERS];
  struct sender sender[SENDERS];
  for (int s = 0; s < SENDERS; s++) {
    sender[s] = (struct sender){&mailbox, calloc(LETTERS, sizeof(struct test_letter))};
    for (int i = 0; i < LETTERS; i++) sender[s].letters[i] = (struct test_letter){.sender = s, .number = i};
    pthread_create(&thread[s], NULL, send_all, &sender[s]);
  }
  int next[SENDERS] = {0}, taken = 0;
  while (taken < SENDERS * LETTERS) {
    struct letter *letter = mailbox_take(&mailbox);
    if (!letter) mailbox_wait(&mailbox, 1000);
    for (; letter; letter = letter->next, taken++) {
      struct test_letter *t = (struct test_letter *)(void *)letter;
      assert_int_equal(t->number, next[t->sender]++);
    }
  }
  for (int s = 0; s < SENDERS; s++) {
    pthread_join(thread[s], NULL);
    free(sender[s].letters);
  }
  mailbox_release(&mailbox);
}

/* A wake-up before the wait is not lost. */
static void test_wake(void **state) {
  (void)state;
  struct mailbox mailbox;
  mailbox_init(&mailbox);
  for (int i = 0; i < 3; i++) {
    mailbox_wake(&mailbox);
    mailbox_wait(&mailbox, 600000);
  }
  mailbox_release(&mailbox);
}

/* Events of many sizes through a ring that is far too small for all of them at once. */
static size_t event_size(int i) { return (size_t)(i * 7919 % 900); }

struct pair {
  struct inbox *inbox;
  struct inbox_producer *producer;
};

/* Signals after some events, as after a step, and before it waits. */
static void *produce(void *argument) {
  const struct pair *pair = argument;
  static char text[1024];
  memset(text, 'a', sizeof text);
  for (int i = 0; i < EVENTS; i++) {
    struct inbox_event event = {.request = (uint64_t)i, .text = slice_make(text, event_size(i))};
    while (!inbox_push(pair->inbox, &event)) {
      inbox_signal(pair->producer);
      mailbox_wait(pair->producer->mailbox, 1000);
    }
    if (i % 5 == 0) inbox_signal(pair->producer);
  }
  inbox_signal(pair->producer);
  return NULL;
}

static void test_ring(void **state) {
  (void)state;
  struct mailbox mailbox;
  mailbox_init(&mailbox);
  struct error error;
  struct inbox_producer producer = {.mailbox = &mailbox};
  struct inbox *inbox = inbox_new(&producer, &error);
  struct pair pair = {inbox, &producer};
  pthread_t thread;
  pthread_create(&thread, NULL, produce, &pair);
  int seen = 0;
  while (seen < EVENTS) {
    struct inbox_event events[7];
    int count = inbox_take(inbox, events, 7, 1000);
    for (int i = 0; i < count; i++, seen++) {
      assert_int_equal(events[i].request, seen);
      assert_int_equal(events[i].text.size, event_size(seen));
      if (events[i].text.size) assert_int_equal(events[i].text.data[events[i].text.size - 1], 'a');
    }
  }
  pthread_join(thread, NULL);
  struct inbox_event event;
  assert_int_equal(inbox_take(inbox, &event, 1, 0), 0);
  inbox_drop(inbox);
  mailbox_release(&mailbox);
}

static void test_full(void **state) {
  (void)state;
  struct mailbox mailbox;
  mailbox_init(&mailbox);
  struct error error;
  struct inbox_producer producer = {.mailbox = &mailbox};
  struct inbox *inbox = inbox_new(&producer, &error);
  static char text[10000];
  struct inbox_event event = {.text = slice_make(text, sizeof text)}, taken;
  int pushed = 0;
  while (inbox_push(inbox, &event)) pushed++;
  assert_true(pushed > LIMIT_INBOX_BYTES / 10100 - 2 && pushed <= LIMIT_INBOX_BYTES / 10000);
  assert_int_equal(inbox_take(inbox, &taken, 1, 0), 1);
  assert_false(inbox_push(inbox, &event)); /* the taken event's text is still in use */
  assert_int_equal(inbox_take(inbox, &taken, 1, 0), 1);
  assert_true(inbox_push(inbox, &event));
  inbox_signal(&producer);
  inbox_abandon(inbox);
  for (int i = 0; i < 1000; i++) assert_true(inbox_push(inbox, &event)); /* swallowed */
  inbox_drop(inbox);
  mailbox_release(&mailbox);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_mailbox),
      cmocka_unit_test(test_wake),
      cmocka_unit_test(test_ring),
      cmocka_unit_test(test_full),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
