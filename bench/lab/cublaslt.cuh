/* cuBLASLt beside a kernel of one's own, opened at run time: a machine that has a driver alone goes without. */
#ifndef SPATE_BENCH_CUBLASLT_CUH
#define SPATE_BENCH_CUBLASLT_CUH

#include "lab.cuh"

#include <cublasLt.h>
#include <dlfcn.h>

struct cublaslt {
  void *opened;
  cublasLtHandle_t handle;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmulDescCreate) desc_create;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  void *workspace;
};

enum { CUBLASLT_WORKSPACE = 32 << 20, CUBLASLT_CHOICES = 8 };

#define CUBLASLT_CHECK(call)                                                                                           \
  do {                                                                                                                 \
    int status = (int)(call);                                                                                          \
    if (status != 0) {                                                                                                 \
      printf("%s: status %d\n", #call, status);                                                                        \
      exit(1);                                                                                                         \
    }                                                                                                                  \
  } while (0)

template <typename F> static void cublaslt_symbol(const cublaslt &lt, F *function, const char *name) {
  *(void **)function = dlsym(lt.opened, name);
  if (!*function) printf("cuBLASLt without %s\n", name), exit(1);
}

/* False where there is no such library. CUBLASLT in the environment names it. */
static bool cublaslt_open(cublaslt *lt) {
  const char *names[] = {getenv("CUBLASLT"), "libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so",
                         "/usr/local/cuda/lib64/libcublasLt.so"};
  for (const char *name : names)
    if (name && !lt->opened) lt->opened = dlopen(name, RTLD_NOW);
  if (!lt->opened) return false;
  decltype(&cublasLtCreate) create;
  cublaslt_symbol(*lt, &create, "cublasLtCreate");
  cublaslt_symbol(*lt, &lt->matmul, "cublasLtMatmul");
  cublaslt_symbol(*lt, &lt->heuristic, "cublasLtMatmulAlgoGetHeuristic");
  cublaslt_symbol(*lt, &lt->desc_create, "cublasLtMatmulDescCreate");
  cublaslt_symbol(*lt, &lt->desc_set, "cublasLtMatmulDescSetAttribute");
  cublaslt_symbol(*lt, &lt->layout_create, "cublasLtMatrixLayoutCreate");
  cublaslt_symbol(*lt, &lt->preference_create, "cublasLtMatmulPreferenceCreate");
  cublaslt_symbol(*lt, &lt->preference_set, "cublasLtMatmulPreferenceSetAttribute");
  CUBLASLT_CHECK(create(&lt->handle));
  CHECK(cudaMalloc(&lt->workspace, CUBLASLT_WORKSPACE));
  return true;
}

/* out[token][row] = in[token][col] · weights[row][col]ᵀ, all in bf16, sums in float: what linears of a network are. Or
 * weights and tokens in E4M3, fast: without promotion of sums; or in int8, to int32. */
enum cublaslt_kind { CUBLASLT_BF16, CUBLASLT_E4M3, CUBLASLT_E4M3_FAST, CUBLASLT_INT8 };
struct cublaslt_product {
  cublasLtMatmulDesc_t desc;
  cublasLtMatrixLayout_t weights, in, out;
  cublasLtMatmulHeuristicResult_t choice[CUBLASLT_CHOICES];
  int n_choice;
  bool whole;
};

static cublaslt_product cublaslt_prepare(const cublaslt &lt, int rows, int cols, int tokens,
                                         enum cublaslt_kind kind = CUBLASLT_BF16) {
  cublaslt_product p = {};
  cublasLtMatmulPreference_t preference;
  cublasOperation_t turned = CUBLAS_OP_T;
  size_t workspace = CUBLASLT_WORKSPACE;
  bool whole = p.whole = kind == CUBLASLT_INT8;
  int8_t fast = kind == CUBLASLT_E4M3_FAST;
  cudaDataType_t in = whole ? CUDA_R_8I : kind == CUBLASLT_BF16 ? CUDA_R_16BF : CUDA_R_8F_E4M3;
  cudaDataType_t out = whole ? CUDA_R_32I : CUDA_R_16BF;
  CUBLASLT_CHECK(
      lt.desc_create(&p.desc, whole ? CUBLAS_COMPUTE_32I : CUBLAS_COMPUTE_32F, whole ? CUDA_R_32I : CUDA_R_32F));
  if (fast) CUBLASLT_CHECK(lt.desc_set(p.desc, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast, sizeof fast));
  CUBLASLT_CHECK(lt.desc_set(p.desc, CUBLASLT_MATMUL_DESC_TRANSA, &turned, sizeof turned));
  CUBLASLT_CHECK(lt.layout_create(&p.weights, in, cols, rows, cols));
  CUBLASLT_CHECK(lt.layout_create(&p.in, in, cols, tokens, cols));
  CUBLASLT_CHECK(lt.layout_create(&p.out, out, rows, tokens, rows));
  CUBLASLT_CHECK(lt.preference_create(&preference));
  CUBLASLT_CHECK(lt.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace));
  CUBLASLT_CHECK(lt.heuristic(lt.handle, p.desc, p.weights, p.in, p.out, p.out, preference, CUBLASLT_CHOICES, p.choice,
                              &p.n_choice));
  return p;
}

static void cublaslt_run(const cublaslt &lt, const cublaslt_product &p, int choice, const void *weights, const void *in,
                         void *out) {
  float one = 1, zero = 0;
  int32_t whole_one = 1;
  CUBLASLT_CHECK(lt.matmul(lt.handle, p.desc, p.whole ? (const void *)&whole_one : &one, weights, p.weights, in, p.in,
                           &zero, out, p.out, out, p.out, &p.choice[choice].algo, lt.workspace, CUBLASLT_WORKSPACE, 0));
}

#endif
