/* The service of the supervisors that are measured beside each other, for x86-64 Linux and without a C
 * library, because what a library does before main() would be added to everybody's figures (a third
 * of a millisecond where CPUID traps into a hypervisor).
 *
 * It reports when its first instruction ran, says that it is ready in each way that one of the
 * supervisors understands, writes a line, and waits to be ended. `probe [NAME]`; without a name it
 * takes that of its directory. */

enum { WRITE = 1, CLOSE = 3, ACCESS = 21, PAUSE = 34, SOCKET = 41, SENDTO = 44, GETCWD = 79, CLOCK_GETTIME = 228 };
enum { AF_UNIX = 1, SOCK_DGRAM = 2, CLOCK_MONOTONIC = 1, BEGAN = 1, READY = 2, NOTIFICATION_FD = 3 };

static long call(long number, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

/* Append at most what fits; the end of what is there now. */
static char *append(char *to, const char *limit, const char *text)
{
	while (*text && to < limit)
		*to++ = *text++;
	return to;
}

static void send_to(long socket, const char *path, const char *bytes, long length)
{
	struct { unsigned short family; char path[108]; } address = { AF_UNIX, { 0 } };

	append(address.path, address.path + sizeof address.path - 1, path);
	call(SENDTO, socket, (long)bytes, length, 0, (long)&address, sizeof address);
}

static unsigned long nanoseconds(void)
{
	long now[2] = { 0, 0 };

	call(CLOCK_GETTIME, CLOCK_MONOTONIC, (long)now, 0, 0, 0, 0);
	return now[0] * 1000000000UL + now[1];
}

static void report(long socket, char kind, unsigned long at, const char *name)
{
	char message[9 + 64] = { kind };

	for (int byte = 0; byte < 8; byte++)
		message[1 + byte] = at >> 8 * byte;
	send_to(socket, "/bench/reports", message, append(message + 9, message + sizeof message, name) - message);
}

/* The value of NOTIFY_SOCKET, if there is one. */
static const char *notify_socket(char **environment)
{
	for (; *environment; environment++) {
		const char *name = "NOTIFY_SOCKET=", *variable = *environment;
		while (*name && *name == *variable)
			name++, variable++;
		if (!*name)
			return variable;
	}
	return 0;
}

__attribute__((used)) static void run(long *stack)
{
	unsigned long began = nanoseconds();
	char **arguments = (char **)(stack + 1), directory[256] = "", line[80];
	long socket = call(SOCKET, AF_UNIX, SOCK_DGRAM, 0, 0, 0, 0);
	const char *name = arguments[1], *notify = notify_socket(arguments + stack[0] + 1);

	if (!name) {
		call(GETCWD, (long)directory, sizeof directory, 0, 0, 0, 0);
		name = directory;
		for (const char *letter = directory; *letter; letter++)
			if (*letter == '/')
				name = letter + 1;
	}
	report(socket, BEGAN, began, name);
	char *end = append(append(line, line + 60, name), line + sizeof line, " is at work\n");
	call(WRITE, 1, (long)line, end - line, 0, 0, 0);
	if (notify)
		send_to(socket, notify, "READY=1\n", 8);
	else if (!call(ACCESS, (long)"notification-fd", 0, 0, 0, 0, 0)) {
		call(WRITE, NOTIFICATION_FD, (long)"\n", 1, 0, 0, 0);
		call(CLOSE, NOTIFICATION_FD, 0, 0, 0, 0, 0);
	}
	report(socket, READY, nanoseconds(), name);
	call(CLOSE, socket, 0, 0, 0, 0, 0);
	for (;;)
		call(PAUSE, 0, 0, 0, 0, 0, 0);
}

/* The kernel leaves argc, argv and the environment on the stack. */
__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall run\n");
