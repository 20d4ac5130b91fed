/* test_memory.c - what the files of a system say of memory, and what TENET_MEMORY puts in their place. */
#include "base/memory.h"
#include "testing.h"

static void put(const char *root, const char *path, const char *text)
{
    char *name = tn_strf("%s%s", root, path), *slash = name != NULL ? strrchr(name, '/') : NULL;

    assert_non_null(slash);
    *slash = '\0';
    assert_int_equal(tn_mkdirs(name, NULL), TN_OK);
    *slash = '/';
    assert_int_equal(tn_file_write_all(name, text, strlen(text), NULL), TN_OK);
    free(name);
}

static void machine_put(const char *root)
{
    char pages[64];

    put(root, "/proc/meminfo", "MemTotal:       1000 kB\nMemFree:        10 kB\nMemAvailable:    800 kB\n");
    snprintf(pages, sizeof pages, "900 50 30 1 0 1 0\n");
    put(root, "/proc/self/statm", pages);
    put(root, "/proc/sys/kernel/random/boot_id", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee\n");
}

static size_t left(const char *root) { return tn_memory_below(root, NULL).left; }

static void a_system_that_tells_nothing_has_no_limit(void **state)
{
    assert_true(left(*state) == SIZE_MAX);
    put(*state, "/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: much\n");
    put(*state, "/proc/self/cgroup", "nonsense\n0::/gone\n7:memory\n");
    assert_true(left(*state) == SIZE_MAX);
}

static void the_machine_has_what_is_available(void **state)
{
    tn_memory m;

    machine_put(*state);
    m = tn_memory_below(*state, NULL);
    assert_int_equal(m.left, 800 << 10);
    assert_int_equal(m.own, 20 * sysconf(_SC_PAGESIZE));
}

/* Limits hold for all groups above too; cached files, and what is known of folders, do not count as used. */
static void the_tightest_group_counts(void **state)
{
    machine_put(*state);
    put(*state, "/proc/self/cgroup", "0::/a/b\n");
    put(*state, "/sys/fs/cgroup/a/b/memory.max", "max\n");
    put(*state, "/sys/fs/cgroup/a/b/memory.current", "300000\n");
    assert_int_equal(left(*state), 800 << 10);
    uint64_t machine = tn_memory_below(*state, NULL).whose;

    put(*state, "/sys/fs/cgroup/a/memory.max", "500000\n");
    put(*state, "/sys/fs/cgroup/a/memory.current", "400000\n");
    put(*state, "/sys/fs/cgroup/a/memory.stat",
        "anon 100000\ninactive_file 200000\nactive_file 50000\nslab_reclaimable 20000\nshmem 7\n");
    assert_int_equal(left(*state), 370000);
    uint64_t above = tn_memory_below(*state, NULL).whose;
    assert_true(above != machine);

    put(*state, "/sys/fs/cgroup/a/b/memory.max", "300000\n");
    assert_int_equal(left(*state), 0);
    assert_true(tn_memory_below(*state, NULL).whose != above);
    put(*state, "/proc/self/cgroup", "0::/a/other\n"); /* shares what is above it */
    assert_true(tn_memory_below(*state, NULL).whose == above);
}

static void groups_of_version_1_count_too(void **state)
{
    machine_put(*state);
    put(*state, "/proc/self/cgroup", "5:cpu,cpuacct:/x\n4:hugetlb,memory:/docker/1\n0::/\n");
    put(*state, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put(*state, "/sys/fs/cgroup/memory/memory.usage_in_bytes", "5000\n");
    assert_int_equal(left(*state), 800 << 10);
    put(*state, "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "100000\n"); /* a container sees its own as root */
    put(*state, "/sys/fs/cgroup/memory/memory.usage_in_bytes", "90000\n");
    put(*state, "/sys/fs/cgroup/memory/memory.stat",
        "inactive_file 1\ntotal_inactive_file 40000\ntotal_active_file 2000\n");
    assert_int_equal(left(*state), 52000);
}

static void what_is_told_takes_their_place(void **state)
{
    size_t own;

    machine_put(*state);
    own = tn_memory_below(*state, NULL).own;
    assert_int_equal(tn_memory_below(*state, "3M").left, (3 << 20) - own);
    assert_int_equal(tn_memory_below(*state, "4194304").left, (4 << 20) - own);
    assert_int_equal(tn_memory_below(*state, "1T").left, ((size_t)1 << 40) - own);
    assert_int_equal(tn_memory_below(*state, "1K").left, 0);
    assert_int_equal(tn_memory_below(*state, "much").left, 800 << 10);
}

static void only_an_amount_can_be_told(void **state)
{
    static const char *const bad[] = {
        "", "G", "2GB", "-1", "1.5G", "0", "99999999999999999999", "99999999999T"
    };
    tn_error err;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        setenv("TENET_MEMORY", bad[i], 1);
        assert_int_equal(tn_memory_check(&err), TN_USAGE);
        assert_says(err, "TENET_MEMORY");
    }
    setenv("TENET_MEMORY", "1K", 1);
    assert_int_equal(tn_memory_check(&err), TN_OK);
    assert_int_equal(tn_memory_left(), 1);
    assert_false(tn_memory_has(16 << 20));
    assert_true(tn_memory_has(1000)); /* little is not asked for */
    unsetenv("TENET_MEMORY");
    assert_int_equal(tn_memory_check(&err), TN_OK);
    assert_true(tn_memory_left() > 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        folder_test(a_system_that_tells_nothing_has_no_limit),
        folder_test(the_machine_has_what_is_available),
        folder_test(the_tightest_group_counts),
        folder_test(groups_of_version_1_count_too),
        folder_test(what_is_told_takes_their_place),
        cmocka_unit_test(only_an_amount_can_be_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
