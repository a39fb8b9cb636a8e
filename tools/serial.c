// SPDX-License-Identifier: GPL-2.0
/*
 * The console: a 16550A whose line is infinitely fast.
 *
 * Output is written in lines, since a system call for each character costs more
 * than everything else about it. A timer sends off what ends without a newline.
 */
#include <errno.h>
#include <linux/serial_reg.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "platform.h"
#include "serial.h"
#include "term.h"

#define FLUSH_DELAY_NS		(10 * 1000 * 1000)
#define POLLS_OF_A_READER	16
#define INPUT_BATCH		256

static void write_out(struct serial *s)
{
	struct pollfd room = { .fd = STDOUT_FILENO, .events = POLLOUT };
	unsigned int done = 0;

	while (done < s->tx_len) {
		ssize_t n = write(STDOUT_FILENO, s->tx + done, s->tx_len - done);

		if (n < 0 && errno == EINTR && !atomic_load(&s->vm->stop))
			continue;
		/* made non-blocking by somebody who shares it; in turns, for @stop is no event */
		if (n < 0 && errno == EAGAIN && !atomic_load(&s->vm->stop)) {
			poll(&room, 1, 1000);
			continue;
		}
		if (n <= 0)
			break;		/* nobody reads it any more; the guest goes on */
		done += n;
	}
	s->tx_len = 0;
}

static void arm_flush(struct serial *s)
{
	struct itimerspec when = { .it_value.tv_nsec = FLUSH_DELAY_NS };

	if (!s->flush_armed)
		s->flush_armed = timerfd_settime(s->flush.fd, 0, &when, NULL) == 0;
}

static void on_flush_timer(struct watch *w)
{
	struct serial *s = w->dev;
	uint64_t expirations;

	if (read(w->fd, &expirations, sizeof(expirations)) < 0)
		return;
	pthread_mutex_lock(&s->lock);
	s->flush_armed = false;
	write_out(s);
	pthread_mutex_unlock(&s->lock);
}

void serial_flush(struct serial *s)
{
	pthread_mutex_lock(&s->lock);
	write_out(s);
	pthread_mutex_unlock(&s->lock);
}

/*
 * Input stays on the line until the guest shows that it reads. A driver clears
 * the receiver when it starts, and a script's first line would be gone.
 */
static bool has_input(const struct serial *s)
{
	return s->rx_len && ((s->ier & UART_IER_RDI) || (s->mcr & UART_MCR_LOOP) ||
			     s->idle_polls == POLLS_OF_A_READER);
}

static uint8_t interrupt_id(const struct serial *s)
{
	if ((s->ier & UART_IER_RDI) && has_input(s))
		return UART_IIR_RDI;
	if ((s->ier & UART_IER_THRI) && s->thr_interrupt)
		return UART_IIR_THRI;
	return UART_IIR_NO_INT;
}

static void update_line(struct serial *s)
{
	bool line = interrupt_id(s) != UART_IIR_NO_INT;
	struct kvm_irq_level level = { .irq = COM1_GSI, .level = line };

	if (line == s->line)
		return;
	s->line = line;
	ioctl(s->vm->fd, KVM_IRQ_LINE, &level);
}

static void rx_put(struct serial *s, uint8_t c)
{
	if (s->rx_len < SERIAL_RX_SIZE)
		s->rx[(s->rx_head + s->rx_len++) % SERIAL_RX_SIZE] = c;
}

static uint8_t modem_status(const struct serial *s)
{
	uint8_t out = s->mcr, in = 0;

	if (!(s->mcr & UART_MCR_LOOP))
		return UART_MSR_CTS | UART_MSR_DSR | UART_MSR_DCD;
	/* looped back, outputs appear at the inputs; drivers look for a UART this way */
	if (out & UART_MCR_RTS)
		in |= UART_MSR_CTS;
	if (out & UART_MCR_DTR)
		in |= UART_MSR_DSR;
	if (out & UART_MCR_OUT1)
		in |= UART_MSR_RI;
	if (out & UART_MCR_OUT2)
		in |= UART_MSR_DCD;
	return in;
}

static void transmit(struct serial *s, uint8_t c)
{
	s->idle_polls = 0;
	s->thr_interrupt = true;	/* sent as soon as written */
	if (s->mcr & UART_MCR_LOOP) {
		rx_put(s, c);
		return;
	}
	s->tx[s->tx_len++] = c;
	if (c == '\n' || s->tx_len == SERIAL_TX_SIZE)
		write_out(s);
	else
		arm_flush(s);
}

static uint8_t receive(struct serial *s)
{
	uint8_t c;

	if (!has_input(s))
		return 0;
	c = s->rx[s->rx_head];
	s->rx_head = (s->rx_head + 1) % SERIAL_RX_SIZE;
	s->rx_len--;
	if (s->input_stopped && s->rx_len <= SERIAL_RX_SIZE - INPUT_BATCH) {
		s->input_stopped = false;
		eventfd_write(s->room.fd, 1);
	}
	return c;
}

static uint8_t line_status(struct serial *s)
{
	if (s->idle_polls < POLLS_OF_A_READER)
		s->idle_polls++;
	return UART_LSR_THRE | UART_LSR_TEMT | (has_input(s) ? UART_LSR_DR : 0);
}

static uint8_t interrupt_status(struct serial *s)
{
	uint8_t iir = interrupt_id(s);

	if (iir == UART_IIR_THRI)
		s->thr_interrupt = false;
	return iir | (s->fcr & UART_FCR_ENABLE_FIFO ? 0xc0 : 0);
}

static uint8_t read_register(struct serial *s, unsigned int reg)
{
	bool dlab = s->lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_RX:
		return dlab ? s->dll : receive(s);
	case UART_IER:
		return dlab ? s->dlm : s->ier;
	case UART_IIR:
		return interrupt_status(s);
	case UART_LCR:
		return s->lcr;
	case UART_MCR:
		return s->mcr;
	case UART_LSR:
		return line_status(s);
	case UART_MSR:
		return modem_status(s);
	default:
		return s->scr;
	}
}

static void write_ier(struct serial *s, uint8_t value)
{
	/* enabled while the transmitter is empty, the interrupt comes at once */
	if (value & ~s->ier & UART_IER_THRI)
		s->thr_interrupt = true;
	s->ier = value & 0x0f;
}

static void write_register(struct serial *s, unsigned int reg, uint8_t value)
{
	bool dlab = s->lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_TX:
		if (dlab)
			s->dll = value;
		else
			transmit(s, value);
		break;
	case UART_IER:
		if (dlab)
			s->dlm = value;
		else
			write_ier(s, value);
		break;
	case UART_FCR:
		s->fcr = value;		/* there is no FIFO to clear: see has_input() */
		break;
	case UART_LCR:
		s->lcr = value;
		break;
	case UART_MCR:
		s->mcr = value & 0x1f;
		break;
	case UART_SCR:
		s->scr = value;
		break;
	}
}

static uint64_t serial_read(void *dev, uint64_t offset, unsigned int len)
{
	struct serial *s = dev;
	uint64_t value = UINT64_MAX;

	if (len != 1)
		return value;
	pthread_mutex_lock(&s->lock);
	value = read_register(s, offset);
	update_line(s);
	pthread_mutex_unlock(&s->lock);
	return value;
}

static void serial_write(void *dev, uint64_t offset, unsigned int len, uint64_t value)
{
	struct serial *s = dev;

	if (len != 1)
		return;
	pthread_mutex_lock(&s->lock);
	write_register(s, offset, value);
	update_line(s);
	pthread_mutex_unlock(&s->lock);
}

static const struct bus_ops serial_ops = { serial_read, serial_write };

static void take_key(struct serial *s, uint8_t key)
{
	switch (term_key(key)) {
	case TERM_INPUT:
		rx_put(s, key);
		break;
	case TERM_LEAVE:
		vm_end(s->vm, STATUS_LEFT, NULL);
		break;
	case TERM_SWALLOWED:
		break;
	}
}

/*
 * Reads standard input once. False when there is nothing more to be had for
 * now. A terminal is read in any case, since Ctrl-A x must work when the guest
 * hangs; what it has no room for is lost, as on a serial line.
 */
static bool read_input(struct serial *s)
{
	uint8_t buf[INPUT_BATCH];
	bool stop;
	ssize_t n;

	pthread_mutex_lock(&s->lock);
	stop = !s->input_is_tty && s->rx_len > SERIAL_RX_SIZE - INPUT_BATCH;
	s->input_stopped = stop;
	pthread_mutex_unlock(&s->lock);
	n = stop ? 0 : read(s->input.fd, buf, sizeof(buf));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return false;
	if (n <= 0) {
		if (s->input_waitable)
			loop_del(s->loop, &s->input);
		return false;
	}
	pthread_mutex_lock(&s->lock);
	for (ssize_t i = 0; i < n; i++)
		take_key(s, buf[i]);
	update_line(s);
	pthread_mutex_unlock(&s->lock);
	return true;
}

static void on_input(struct watch *w)
{
	read_input(w->dev);
}

/* A file or /dev/null cannot be waited for and need not be: it is read until it ends. */
static void start_input(struct serial *s)
{
	s->input_waitable = loop_add(s->loop, &s->input);
	while (!s->input_waitable && read_input(s))
		;
}

static void on_room(struct watch *w)
{
	event_drain(w);
	start_input(w->dev);
}

void serial_start_input(struct serial *s)
{
	s->input.fd = STDIN_FILENO;
	s->input.ready = on_input;
	s->input.dev = s;
	s->input_is_tty = isatty(STDIN_FILENO);
	start_input(s);
}

void serial_setup(struct serial *s, struct vm *vm, struct loop *loop)
{
	s->vm = vm;
	s->loop = loop;
	pthread_mutex_init(&s->lock, NULL);
	bus_add(&vm->ports, COM1_PORT, 8, &serial_ops, s);

	s->flush.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	s->flush.ready = on_flush_timer;
	s->flush.dev = s;
	if (s->flush.fd < 0 || !loop_add(loop, &s->flush))
		die(STATUS_HOST, "timerfd: %s", strerror(errno));
	loop_add_event(loop, &s->room, on_room, s);
}
