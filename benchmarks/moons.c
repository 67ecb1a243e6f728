/* One training step of micrograd's demo as a C programmer would write it for this very network:
   MLP 2-16-16-1, hinge loss, L2, gradients by hand, gradient descent. Blocks of samples stay in the
   L1 cache; arrays are [unit][sample], so that every inner loop runs over adjacent samples and the
   compiler can emit SIMD for it. */

enum { INPUTS = 2, HIDDEN = 16, BLOCK = 128 };

/* A unit's weights and, last, its bias: micrograd's order of the parameters. */
typedef struct {
    double first[HIDDEN][INPUTS + 1];
    double second[HIDDEN][HIDDEN + 1];
    double last[1][HIDDEN + 1];
} Network;

enum { PARAMETERS = sizeof(Network) / sizeof(double) };

typedef struct {
    Network network;
    const double *points[INPUTS];
    const double *labels;
    long samples;
    double alpha, learning_rate;
} Training;

typedef double Units[][BLOCK];

#define INLINE static inline __attribute__((always_inline))

/* out[j][s] = bias[j] + sum over k of w[j][k] x[k][s], through ReLU if `relu` */
INLINE void forward(int n_in, int n_out, const double *restrict w, const Units x,
                    double (*restrict out)[BLOCK], int relu, long n)
{
    for (int j = 0; j < n_out; j++, w += n_in + 1)
        for (long s = 0; s < n; s++) {
            double sum = w[n_in];
            for (int k = 0; k < n_in; k++)
                sum += w[k] * x[k][s];
            out[j][s] = relu && sum < 0 ? 0 : sum;
        }
}

/* gw[j][k] += sum over s of by[j][s] x[k][s], and the biases' alike */
INLINE void weights_gradient(int n_in, int n_out, double *restrict gw, const Units x,
                             const Units by, long n)
{
    for (int j = 0; j < n_out; j++, gw += n_in + 1) {
        double bias = 0;
        for (long s = 0; s < n; s++)
            bias += by[j][s];
        gw[n_in] += bias;
        for (int k = 0; k < n_in; k += 2) { /* two at a time: by[j] is loaded half as often */
            double a = 0, b = 0;
            for (long s = 0; s < n; s++) {
                a += by[j][s] * x[k][s];
                b += by[j][s] * x[k + 1][s];
            }
            gw[k] += a;
            gw[k + 1] += b;
        }
    }
}

/* by_x[k][s] = sum over j of w[j][k] by[j][s], where ReLU let x through */
INLINE void inputs_gradient(int n_in, int n_out, const double *restrict w, const Units x,
                            const Units by, double (*restrict by_x)[BLOCK], long n)
{
    for (int k = 0; k < n_in; k++)
        for (long s = 0; s < n; s++) {
            double sum = 0;
            for (int j = 0; j < n_out; j++)
                sum += w[j * (n_in + 1) + k] * by[j][s];
            by_x[k][s] = x[k][s] > 0 ? sum : 0;
        }
}

/* One step on all samples; the loss before it. */
double train_step(Training *training)
{
    static double x[INPUTS][BLOCK], h1[HIDDEN][BLOCK], h2[HIDDEN][BLOCK], score[1][BLOCK];
    static double by_h1[HIDDEN][BLOCK], by_h2[HIDDEN][BLOCK], by_score[1][BLOCK];
    Network *net = &training->network, gradient = {0};
    double hinge = 0, squares = 0, scale = 1.0 / training->samples;

    for (long start = 0; start < training->samples; start += BLOCK) {
        long left = training->samples - start, n = left < BLOCK ? left : BLOCK;
        const double *labels = training->labels + start;
        for (int k = 0; k < INPUTS; k++)
            for (long s = 0; s < n; s++)
                x[k][s] = training->points[k][start + s];

        forward(INPUTS, HIDDEN, *net->first, x, h1, 1, n);
        forward(HIDDEN, HIDDEN, *net->second, h1, h2, 1, n);
        forward(HIDDEN, 1, *net->last, h2, score, 0, n);
        for (long s = 0; s < n; s++) {
            double margin = 1 - labels[s] * score[0][s];
            hinge += margin > 0 ? margin : 0;
            by_score[0][s] = margin > 0 ? -labels[s] * scale : 0;
        }
        weights_gradient(HIDDEN, 1, *gradient.last, h2, by_score, n);
        inputs_gradient(HIDDEN, 1, *net->last, h2, by_score, by_h2, n);
        weights_gradient(HIDDEN, HIDDEN, *gradient.second, h1, by_h2, n);
        inputs_gradient(HIDDEN, HIDDEN, *net->second, h1, by_h2, by_h1, n);
        weights_gradient(INPUTS, HIDDEN, *gradient.first, x, by_h1, n);
    }

    double *p = (double *)net, *g = (double *)&gradient;
    for (int k = 0; k < PARAMETERS; k++) {
        squares += p[k] * p[k];
        p[k] -= training->learning_rate * (g[k] + 2 * training->alpha * p[k]);
    }
    return hinge * scale + training->alpha * squares;
}
